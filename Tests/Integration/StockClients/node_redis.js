// node-redis.
const [path, grant] = process.argv.slice(2);
let redis, version;
try {
  redis = require('redis');
  version = require('redis/package.json').version;
} catch {
  process.exit(77);
}
const assert = require('assert');

async function main() {
  const client = redis.createClient({ socket: { path } });
  await client.connect();
  assert.strictEqual(await client.ping(), 'PONG');
  for (let call = 0; call < 10; call++) {
    const reply = await client.sendCommand(['CHECK', grant, 'run']);
    assert(reply[0] === 1 && reply[2] === 9 - call && reply[5] === 'allow', String(reply));
  }
  const denied = await client.sendCommand(['CHECK', grant, 'run']);
  assert(denied[0] === 0 && denied[8].startsWith('run is limited to 10 calls'), String(denied));
  assert.strictEqual((await client.sendCommand(['PEEK', grant, 'run']))[0], 0);
  await assert.rejects(client.sendCommand(['CHECK', grant]), /wrong number of arguments/);
  const calls = Array.from({ length: 1000 }, () => client.sendCommand(['CHECK', grant, 'big']));
  const left = (await Promise.all(calls)).map((reply) => reply[2]);
  left.forEach((value, index) => assert.strictEqual(value, left[0] - index));
  // A transaction is an error, and nothing is charged.
  const transaction = client.multi().addCommand(['CHECK', grant, 'big']).addCommand(['CHECK', grant, 'big']);
  await assert.rejects(transaction.exec(), /not charged|EXECABORT/);
  assert.strictEqual((await client.sendCommand(['PEEK', grant, 'big']))[2], left[999]);
  const named = redis.createClient({ socket: { path }, database: 1 });
  await named.connect();
  const flat = await named.sendCommand(['PEEK', grant, 'run']);
  assert.deepStrictEqual(flat.slice(0, 4), ['allowed', 0, 'limit', 10]);
  await named.quit();
  assert.strictEqual(await client.echo('still here'), 'still here');
  await client.quit();
  console.log(`ok node-redis ${version}`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
