<?php
// A WordPress for tests: one SQLite file, on loopback, and it never calls anybody.
define('DB_DIR', dirname(__DIR__) . '/database');
define('DB_FILE', 'wordpress.sqlite');
define('DB_NAME', 'wordpress');
foreach (['DB_USER', 'DB_PASSWORD', 'DB_HOST', 'DB_COLLATE'] as $unused) {
    define($unused, '');
}
define('DB_CHARSET', 'utf8');
define('WP_ENVIRONMENT_TYPE', 'local'); // application passwords without TLS
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_HOME', 'http://' . ($_SERVER['HTTP_HOST'] ?? '127.0.0.1'));
define('WP_SITEURL', WP_HOME);
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $kind) {
    define($kind . '_KEY', 'a test has nothing to hide');
    define($kind . '_SALT', 'a test has nothing to hide');
}
$table_prefix = 'wp_';
defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
