// Loaded before Waline, which would bind every interface: whatever listens here does so on loopback only.
const { Server } = require('node:net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (where, ...rest) {
  // The cluster's primary gets an object that names what its worker asked for.
  if (typeof where === 'object' && where !== null) return listen.call(this, where, ...rest);
  const done = rest.filter((one) => typeof one === 'function');
  return listen.call(this, Number(where), '127.0.0.1', ...done);
};
