// Twikoo's own engine (twikoo-func) behind an HTTP server of the tests' own, which is what its self-hosted server is,
// too. The engine keeps its comments in a cloud database; here that is a list in memory that knows the queries the
// engine makes. Configuration: a JSON object as the first argument. GET /comments tells everything that is stored.
const http = require('node:http');
const Module = require('node:module');
const { AsyncLocalStorage } = require('node:async_hooks');

const caller = new AsyncLocalStorage();
const tables = { comment: [], config: [JSON.parse(process.argv[2] || '{}')], counter: [] };
let lastId = 0;

const is = (test) => ({ test });
const command = {
  in: (list) => is((value) => list.includes(value ?? null) || list.includes(value)),
  eq: (other) => is((value) => value === other),
  neq: (other) => is((value) => value !== other),
  gt: (other) => is((value) => value > other),
  lt: (other) => is((value) => value < other),
  or: (...queries) => ({ any: queries.flat() }),
};
const matches = (query, row) => query.any
  ? query.any.some((one) => matches(one, row))
  : Object.entries(query).every(([name, wanted]) =>
    wanted && wanted.test ? wanted.test(row[name]) : row[name] === wanted);

function query(name, steps) {
  const rows = () => {
    let found = tables[name].filter((row) => matches(steps.where, row));
    if (steps.order) {
      const [field, direction] = steps.order;
      found = found.sort((a, b) => (direction === 'desc' ? b[field] - a[field] : a[field] - b[field]));
    }
    return found.slice(0, steps.limit);
  };
  const then = (step) => query(name, { ...steps, ...step });
  return {
    where: (where) => then({ where }),
    orderBy: (...order) => then({ order }),
    limit: (limit) => then({ limit }),
    field: () => then({}),
    get: async () => ({ data: rows().map((row) => ({ ...row })) }),
    count: async () => ({ total: rows().length }),
    add: async (row) => {
      const _id = `c${++lastId}`;
      tables[name].push({ ...row, _id });
      return { id: _id };
    },
  };
}

const cloud = {
  SYMBOL_CURRENT_ENV: Symbol('env'),
  init: () => ({
    auth: () => ({
      getClientIP: () => '127.0.0.1',
      getEndUserInfo: () => ({ userInfo: { uid: caller.getStore() } }),
    }),
    database: () => ({ command, collection: (name) => query(name, { where: {} }) }),
    // Checks for spam by other services, and notifications: none here.
    callFunction: async () => ({}),
  }),
};
const load = Module._load;
Module._load = (name, ...rest) => (name === '@cloudbase/node-sdk' ? cloud : load(name, ...rest));
console.log = console.info = console.warn = console.error = () => {};
const engine = require('twikoo-func');

const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  let reply = tables.comment;
  if (request.method === 'POST') {
    const event = JSON.parse(Buffer.concat(parts).toString());
    reply = await caller.run(event.accessToken, () => engine.main(event, {}));
  }
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(reply));
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`listening on http://127.0.0.1:${server.address().port}\n`);
});
