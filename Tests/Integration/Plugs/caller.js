// Asks as deploy/node says, whatever each line of standard input says: COUNT GRANT TOOL. Answers each with a line of JSON: the
// decisions, and how long all of them took together, in ms.
'use strict';
const path = require('path');
const readline = require('readline');
const { Sluice } = require(path.join(process.argv[2], 'sluice.js'));

const [, , , socket, fail, timeout] = process.argv;
const sluice = new Sluice(socket, { fail, timeoutMs: Number(timeout) });

async function answer(line) {
  const [count, grant, tool] = line.split(' ');
  const start = process.hrtime.bigint();
  const decisions = await Promise.all(Array.from({ length: Number(count) }, () => sluice.check(grant, tool)));
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  console.log(JSON.stringify({ ms, decisions: decisions.map((decision) => ({ ...decision, status: decision.status, headers: decision.headers })) }));
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) await answer(line);
  await sluice.close();
}

main();
