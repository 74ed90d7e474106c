-- Waline's package brings no schema; these are the columns that it names. It leaves times to the database.
PRAGMA journal_mode = WAL;
CREATE TABLE wl_Comment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INT, comment TEXT, ip TEXT, link TEXT, mail TEXT, nick TEXT, pid INT,
    rid INT, sticky NUMERIC, status TEXT, "like" INT, ua TEXT, url TEXT,
    insertedAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    createdAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updatedAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE wl_Counter (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time INT, url TEXT,
    createdAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updatedAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE wl_Users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, display_name TEXT, email TEXT, password TEXT, type TEXT, label TEXT, url TEXT,
    avatar TEXT, github TEXT, "2fa" TEXT,
    createdAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updatedAt TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
