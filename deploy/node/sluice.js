'use strict';
// Asks Sluice, the rate-limiter sidecar, from Node 18 or newer, with node-redis 4, 5 or 6:
//
//   const { Sluice } = require('./sluice');
//   const sluice = new Sluice('/run/sluice/sluice.sock');
//   const decision = await sluice.check('alice-laptop', 'opencode_run');
//   if (!decision.allowed) response.writeHead(decision.status, decision.headers).end(decision.message);
const { createClient } = require('redis');

// Longest wait for an answer, in ms. The sidecar answers within its own budget, 20 ms unless set otherwise.
const TIMEOUT_MS = 250;
// How often a lost sidecar is looked for, and how long a check waits for it, in ms: a restart is seldom noticed.
const RECONNECT_MS = 20;
const READY_MS = 100;
// Most checks that wait for their answers. The sidecar reads as many of one connection.
const MAX_IN_FLIGHT = 1024;
// What a denial says if there was no answer, in ms.
const UNAVAILABLE_RETRY_MS = 1000;

const NUMBERS = ['limit', 'remaining', 'retryAfterMs', 'resetMs'];
const TEXTS = ['verdict', 'rule', 'source', 'message'];

/** The sidecar's answer, or this client's if there was none. */
class Decision {
  constructor(fields) {
    Object.assign(this, fields);
  }

  /** 200, or the status of a denial. */
  get status() {
    if (this.allowed) return 200;
    return { limit: 429, unavailable: 503 }[this.verdict] ?? 403;
  }

  /** RateLimit headers if a limit applied, and Retry-After if waiting helps. */
  get headers() {
    const headers = {};
    if (this.limit >= 0) {
      headers['RateLimit-Limit'] = String(this.limit);
      headers['RateLimit-Remaining'] = String(Math.max(0, this.remaining));
    }
    if (!this.allowed && this.retryAfterMs >= 0) headers['Retry-After'] = String(Math.ceil(this.retryAfterMs / 1000));
    return headers;
  }
}

class NoAnswer extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

class Sluice {
  #client;
  #fail;
  #timeoutMs;
  #log;
  #trouble = null;

  /** fail: what a check returns without an answer, a denial ('closed') or an admission ('open'). */
  constructor(path, { fail = 'closed', timeoutMs = TIMEOUT_MS, log = console.warn } = {}) {
    if (fail !== 'closed' && fail !== 'open') throw new RangeError("fail is 'closed' or 'open'");
    this.#fail = fail;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
    this.#client = createClient({
      socket: { path, connectTimeout: timeoutMs, reconnectStrategy: () => RECONNECT_MS },
      // Lists, as `check` reads them: node-redis 6 asks for maps otherwise.
      RESP: 2,
      // Without this, checks wait for a sidecar that is missing, for ever.
      disableOfflineQueue: true,
      commandsQueueMaxLength: MAX_IN_FLIGHT,
    });
    // Without a listener the first lost connection ends the process.
    this.#client.on('error', (error) => this.#note('connection', `${path} cannot be reached: ${error.message}`));
    this.#client.connect().catch(() => {});
  }

  /** May this grant call this tool? If so, the call is charged. Never throws: a name that is none is a denial. */
  async check(grant, tool, options = {}) {
    let reply;
    try {
      reply = await this.#ask(words(grant, tool, options));
    } catch (error) {
      return this.#withoutReply(error);
    }
    if (!Array.isArray(reply) || reply.length < 9) return this.#noAnswer('garbled');
    this.#note(null, 'the sidecar answers again');
    const fields = { allowed: reply[0] === 1 };
    NUMBERS.forEach((name, index) => (fields[name] = reply[1 + index]));
    TEXTS.forEach((name, index) => (fields[name] = reply[5 + index]));
    return new Decision(fields);
  }

  /** Answers what is in flight, and closes the connection. */
  async close() {
    await (this.#client.isReady ? this.#client.quit() : this.#client.disconnect()).catch(() => {});
  }

  async #ask(command) {
    if (!this.#client.isReady) await this.#ready();
    let timer;
    // The check may be counted all the same; its late answer is dropped. (node-redis 4.5 has a signal to take back what was not
    // written yet: it breaks the client's queue if it comes later, and the process ends at the next lost connection.)
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new NoAnswer('timeout')), this.#timeoutMs);
    });
    try {
      return await Promise.race([this.#client.sendCommand(command), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #ready() {
    return new Promise((resolve, reject) => {
      const arrived = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#client.off('ready', arrived);
        reject(new NoAnswer('missing'));
      }, READY_MS);
      this.#client.setMaxListeners(0);
      this.#client.once('ready', arrived);
    });
  }

  #withoutReply(error) {
    const code = /^(ERR|BADARG|TOOBIG|NOPERM) /.exec(error.message)?.[1];
    if (error instanceof TypeError || code) {
      // Names come from callers, so a request that is wrong is a denial.
      this.#note('wrong', `a check was rejected: ${error.message}`);
      return denial(`(${code ?? 'BADARG'})`, 'This call cannot be checked.');
    }
    if (error instanceof NoAnswer) return this.#noAnswer(error.reason);
    if (error.message.startsWith('BUSY ')) return this.#noAnswer('busy');
    return this.#noAnswer(error.message === 'The queue is full' ? 'pool' : 'lost');
  }

  #noAnswer(reason) {
    this.#note(reason, `the sidecar does not answer (${reason})`);
    const isOpen = this.#fail === 'open';
    return new Decision({
      allowed: isOpen, limit: -1, remaining: -1, retryAfterMs: isOpen ? 0 : UNAVAILABLE_RETRY_MS, resetMs: -1,
      verdict: 'unavailable', rule: `(${reason})`, source: 'client',
      message: isOpen ? '' : 'The rate limiter does not answer. Try again in 1 second.',
    });
  }

  /** One line when something begins to be wrong, and one when it ends. */
  #note(trouble, text) {
    if (this.#trouble === trouble) return;
    this.#trouble = trouble;
    this.#log(`sluice: ${text}`);
  }
}

function denial(rule, message) {
  return new Decision({
    allowed: false, limit: -1, remaining: -1, retryAfterMs: -1, resetMs: -1, verdict: 'deny', rule, source: 'client', message,
  });
}

function words(grant, tool, { cost = 1, server, session, attributes = {}, id, approved = false }) {
  const command = ['CHECK', grant, tool];
  if (cost !== 1) command.push('COST', String(cost));
  if (server !== undefined) command.push('SERVER', server);
  if (session !== undefined) command.push('SESSION', session);
  for (const [name, value] of Object.entries(attributes)) command.push('ATTR', name, value);
  if (id !== undefined) command.push('ID', id);
  if (approved) command.push('APPROVED');
  if (command.some((word) => typeof word !== 'string')) throw new TypeError('names are strings');
  return command;
}

module.exports = { Sluice, Decision };
