// Runs engine.io-client against an echo server.
//
//   cd target/tmp/foreign/js-*
//   node .../interop/js/client.mjs http://127.0.0.1:3000/engine.io/ [scenario ...]
//
// It runs where its package.json is installed; the tests do that below the build directory, and
// any other copy of package.json and package-lock.json will do after `npm ci`.
//
// Without names: every scenario that a server with default settings passes. The exit status is 0
// if all passed; each has a line of its own on stdout.

import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";
import { once } from "node:events";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { Peer, forget, same, stillWaiting } from "./peer.mjs";
import { LARGE, binaries, largeBinary, largeText, texts, webSocketTexts } from "./samples.mjs";

const POLLING = { transports: ["polling"] };
const WEBSOCKET = { transports: ["websocket"] };
const UPGRADE = { transports: ["polling", "websocket"] };
const EACH = { polling: POLLING, websocket: WEBSOCKET, upgrade: UPGRADE };

// [time limit in seconds, what to do]
const everyday = {
  "polling": [20, base => everySample(base, POLLING)],
  "websocket": [20, base => everySample(base, WEBSOCKET)],
  "upgrade": [20, base => everySample(base, UPGRADE)],
  "polling-keep-alive": [20, pollingOverKeptConnections],
  "polling-base64": [20, base => everySample(base, { ...POLLING, forceBase64: true })],
  "websocket-base64": [20, base => everySample(base, { ...WEBSOCKET, forceBase64: true })],
  "array-buffers": [20, base => everySample(base, { ...UPGRADE, binaryType: "arraybuffer" })],
  "burst": [20, burst],
  "order-across-upgrade": [20, orderAcrossUpgrade],
  "large-across-upgrade": [20, largeAcrossUpgrade],
  "crowd": [30, crowd],
  "close": [15, close],
  "close-during-upgrade": [15, closeDuringUpgrade],
};

// These ask for a server with settings of their own.
const special = {
  // --ping-interval-ms 300 --ping-timeout-ms 200
  "heartbeat": [10, heartbeat],
  "silence": [10, silence],
  // --max-payload 10000
  "over-limit": [15, overLimit],
  // the server of tests/foreign/options.rs
  "options": [30, serverOptions],
  // the server of tests/foreign/requests.rs
  "requests": [30, applicationRequests],
  // --deflate or --deflate-takeover
  "deflate": [60, deflate],
  // The test ends the server when it reads this line
  "shutdown": [10, shutdown],
};

async function everySample(base, options) {
  const peer = await Peer.open(base, options);
  const onWebSocket = peer.transport === "websocket";
  const samples = [
    ...Object.entries(onWebSocket ? { ...texts, ...webSocketTexts } : texts),
    ...Object.entries(binaries),
  ];
  for (const [name, sample] of samples) await peer.echo([sample], name);

  // Mixed: text and binary in turns, all under way at once.
  const [text, binary] = [samples.filter(isText), samples.filter(entry => !isText(entry))];
  const mixed = text.flatMap((entry, i) => [entry, binary[i % binary.length]]);
  await peer.echo(mixed.map(([, sample]) => sample), "mixed");

  await peer.echo([largeText(LARGE)], "large text");
  // Base64 counts towards maxPayload: 4 characters for 3 bytes, and the leading `b`.
  const room = Math.floor((peer.maxPayload - 1) / 4) * 3;
  const inBase64 = !onWebSocket || options.forceBase64;
  await peer.echo([largeBinary(inBase64 ? Math.min(LARGE, room) : LARGE)], "large binary");
  await peer.close();
}

function isText([, sample]) {
  return typeof sample === "string";
}

// By default the client opens a connection per request, which on a server of several threads also
// spreads one session's requests over them. Browsers keep connections.
async function pollingOverKeptConnections(base) {
  const { Agent } = base.startsWith("https:") ? https : http;
  const agent = new Agent({ keepAlive: true });
  await everySample(base, { ...POLLING, agent });
  agent.destroy();
}

async function burst(base) {
  const messages = Array.from({ length: 1000 }, (_, i) =>
    i % 5 === 4 ? Buffer.from(`binary ${i}`) : `text ${i}`);
  await each(async options => {
    const peer = await Peer.open(base, options);
    await peer.echo(messages);
    await peer.close();
  });
}

// 500 numbered messages, the first before the upgrade begins, the last after it is done.
async function orderAcrossUpgrade(base) {
  const session = async () => {
    const peer = new Peer(base, UPGRADE);
    await peer.opened;
    assert.equal(peer.transport, "polling");
    let sent = 0;
    let upgraded = false;
    peer.upgraded.then(() => (upgraded = true));
    const send = count => {
      while (count-- > 0) peer.send(`${sent++}`);
    };
    send(20);
    while (sent < 400 && !upgraded) {
      send(2);
      await nextTurn();
    }
    await peer.upgraded;
    while (sent < 500) {
      send(Math.min(20, 500 - sent));
      await sleep(1);
    }
    const answers = await peer.take(sent);
    answers.forEach((answer, i) => same(answer, `${i}`, "order"));
    assert.equal(peer.transport, "websocket");
    await peer.echo(["nothing may follow the last"]);
    await peer.close();
  };
  await Promise.all(Array.from({ length: 8 }, session));
}

// A POST and an answer that are still under way when the probe is answered.
async function largeAcrossUpgrade(base) {
  const peer = new Peer(base, UPGRADE);
  await peer.opened;
  const messages = ["before", largeText(LARGE), largeBinary(300_000), "between"];
  messages.forEach(message => peer.send(message));
  await peer.upgraded;
  messages.push("after", largeBinary(LARGE));
  messages.slice(-2).forEach(message => peer.send(message));
  const answers = await peer.take(messages.length);
  answers.forEach((answer, i) => same(answer, messages[i], `message ${i}`));
  await peer.close();
}

async function crowd(base) {
  const kinds = Object.values(EACH);
  const client = async number => {
    const peer = new Peer(base, kinds[number % kinds.length]);
    await peer.opened;
    for (let i = 0; i < 20; i++) {
      // Named by their sender, so that another session's messages are noticed.
      const text = `client ${number} message ${i}`;
      await peer.echo([i % 2 ? Buffer.from(text) : text]);
    }
    await peer.close();
  };
  await Promise.all(Array.from({ length: 100 }, (_, number) => client(number)));
}

async function close(base) {
  await each(async options => {
    const peer = await Peer.open(base, options);
    await peer.echo(["hello"]);
    await closeAndExpectGone(base, peer);
  });
}

async function closeDuringUpgrade(base) {
  // Before the probe is answered the client drops the probe; after it, it waits for the upgrade.
  for (const event of ["open", "upgrading"]) {
    const peer = new Peer(base, UPGRADE);
    const { sid, sent } = await new Promise((resolve, reject) => {
      peer.opened.catch(reject);
      peer.socket.once(event, () => resolve({ sid: peer.socket.id, sent: peer.close() }));
    });
    await sent;
    await sleep(200);
    await expectUnknown(base, sid);
  }
}

async function heartbeat(base) {
  await each(async (options, name) => {
    const peer = await Peer.open(base, options);
    await sleep(2_000);
    assert.equal(peer.socket.readyState, "open", `${name}: closed while it answered pings`);
    // Six are due; a busy machine may lose some, but not many.
    assert.ok(peer.pings >= 3 && peer.pings <= 7, `${name}: ${peer.pings} pings in 2 s`);
    await peer.echo(["still here"]);
    await peer.close();
  });
}

async function serverOptions(base) {
  const peers = await Promise.all([POLLING, WEBSOCKET, UPGRADE].map(async options => {
    const peer = new Peer(base, options);
    const handshake = once(peer.socket, "handshake");
    await peer.opened;
    const [{ sid, pingInterval }] = await handshake;
    assert.match(sid, /^made-\d+$/, "not the sid that the application makes");
    assert.equal(pingInterval, 10_400, "the grace is not announced");
    return peer;
  }));
  // Due after 400 ms, and after 10,400 if the grace were waited for.
  for (const peer of peers) {
    if (peer.pings === 0) await once(peer.socket, "ping", { signal: AbortSignal.timeout(8_000) });
    await peer.echo(["still here"]);
  }
  const sids = new Set(peers.map(peer => peer.socket.id));
  assert.equal(sids.size, peers.length, "two sessions of one name");
  const answer = await fetch(`${base}?EIO=4&transport=polling`);
  const { sid } = JSON.parse((await answer.text()).slice(1));
  assert.equal(answer.headers.get("set-cookie"), `io=${sid}.shard; Path=/; HttpOnly; SameSite=Lax`);
  assert.equal(answer.headers.get("x-served-by"), "eio");
  assert.ok(Math.abs(Date.parse(answer.headers.get("date")) - Date.now()) < 60_000, "no date");
  const refused = await fetch(`${base}?EIO=4&transport=polling&sid=${sid}`, { method: "PUT" });
  assert.equal(refused.status, 403, "not asked about");
  for (const peer of peers) await peer.close();
}

// A query as the client encodes it, headers, a session cookie, and a refusal with a text of the application.
async function applicationRequests(base) {
  const query = { do: "a:b=c d@\u00e9&f+g", bare: "" };
  for (const options of [POLLING, WEBSOCKET, UPGRADE]) {
    const extraHeaders = { "x-name": "ada" };
    const peer = await Peer.open(base, { ...options, query, extraHeaders, withCredentials: true });
    for (const [question, answer] of [["do", query.do], ["bare", ""], ["x-name", "ada"], ["visitor", "1"]]) {
      peer.send(question);
      same((await peer.take(1))[0], answer, question);
    }
    await peer.close();
  }
  const refused = new Peer(base, { ...POLLING, query: { refuse: "yes" } });
  // The client forgets the text after the event.
  const reported = new Promise(resolve => refused.socket.once("error", ({ description, context }) =>
    resolve([description, context.responseText])));
  await assert.rejects(refused.opened);
  assert.deepEqual(await reported, [403, '{"code":4,"message":"Thou shall not pass"}']);
}

async function silence(base) {
  await each(async (options, name) => {
    const peer = await Peer.open(base, options);
    const send = peer.socket._sendPacket;
    peer.socket._sendPacket = function (type, ...rest) {
      if (type !== "pong") send.call(this, type, ...rest);
    };
    const since = Date.now();
    const { reason } = await peer.closed;
    const waited = Date.now() - since;
    assert.equal(reason, "transport close", name);
    // The ping may be nearly due when silence begins, and the server's clock may be coarse.
    assert.ok(waited >= 150 && waited < 2_000, `${name}: closed after ${waited} ms`);
  });
}

async function overLimit(base) {
  const LIMIT = 10_000;                             // bytes, not characters; the type is one of them
  const fits = { "one-byte": "a".repeat(LIMIT - 1), "three-byte": "€".repeat((LIMIT - 1) / 3) };
  const tooLong = {
    "one byte over": "a".repeat(LIMIT),
    "over in bytes, not in characters": "€".repeat(LIMIT / 2),
    "far over": "a".repeat(LIMIT * 50),
  };
  await each(async (options, name) => {
    const peer = await Peer.open(base, options);
    assert.equal(peer.maxPayload, LIMIT);
    for (const [kind, text] of Object.entries(fits)) await peer.echo([text], `${name}: ${kind}`);
    if (peer.transport === "websocket") await peer.echo([largeBinary(LIMIT)], `${name}: binary`);
    await peer.close();

    for (const [kind, text] of Object.entries(tooLong)) {
      const peer = await Peer.open(base, options);
      peer.send(text);
      const { reason, details } = await peer.closed;
      if (name === "polling") {
        assert.equal(reason, "transport error", `${name}, ${kind}`);
        assert.equal(details.description, 413, `${name}, ${kind}: HTTP status`);
      } else {
        assert.equal(reason, "transport close", `${name}, ${kind}`);
        assert.equal(details.context.code, 1009, `${name}, ${kind}: close code`);
      }
    }
  });
  const next = await Peer.open(base, UPGRADE);
  await next.echo(["the server goes on"]);
  await next.close();
}

async function shutdown(base) {
  const peers = {};
  await each(async (options, name) => {
    peers[name] = await Peer.open(base, options);
    await peers[name].echo(["hello"]);
  });
  console.log("waiting for the server to stop");
  for (const [name, peer] of Object.entries(peers)) {
    const { reason, details } = await peer.closed;
    const code = details?.context?.code;
    console.log(`${name} closed: ${reason} ${code ?? ""}`);
    assert.equal(reason, "transport close", name);
    assert.notEqual(code, 1006, `${name}: the connection ended without a close frame`);
  }
}

/** Runs `session` on every transport at the same time. */
async function each(session) {
  await Promise.all(Object.entries(EACH).map(async ([name, options]) => session(options, name)));
}

async function closeAndExpectGone(base, peer) {
  const sid = peer.socket.id;
  const transport = peer.socket.transport;
  // The server has seen it: it finished the closing handshake. A polling client does not wait for the answer
  // to its last POST, and takes its listeners off before.
  const seen = transport.name === "polling" ? sleep(300) : once(transport.ws, "close");
  await peer.close();
  await seen;
  await sleep(50);
  await expectUnknown(base, sid);
}

// A session that is still alive would hold this GET.
async function expectUnknown(base, sid) {
  const query = `?EIO=4&transport=polling&sid=${encodeURIComponent(sid)}`;
  const answer = await fetch(base + query, { signal: AbortSignal.timeout(2_000) });
  assert.equal(answer.status, 400, "a closed session was still served");
  assert.match(await answer.text(), /"code":\s*1\b/, "a closed session was not unknown");
}

// permessage-deflate, which the client offers by default. Also with what a client may ask for.
async function deflate(base) {
  for (const perMessageDeflate of [
    undefined,
    { threshold: 10 },
    { threshold: 10, serverNoContextTakeover: true, clientNoContextTakeover: true },
    { threshold: 10, serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  ]) {
    for (const options of [WEBSOCKET, UPGRADE]) {
      const peer = await Peer.open(base, perMessageDeflate ? { ...options, perMessageDeflate } : options);
      const { ws } = peer.socket.transport;
      assert.equal(ws.extensions, "permessage-deflate");
      for (const [name, sample] of [...Object.entries(texts), ...Object.entries(binaries)]) {
        await peer.echo([sample], name);
      }
      // Below 64 of the smallest windows, beyond which nothing is compressed.
      const text = "what is said again and again is soon said ".repeat(700);
      const messages = Array.from({ length: 20 }, (_, i) => `${i} ${text}`);
      const { bytesRead, bytesWritten } = ws._socket;
      await peer.echo(messages, "compressed");
      const size = messages.length * text.length;
      const { bytesRead: read, bytesWritten: written } = ws._socket;
      assert.ok(read - bytesRead < size / 4, `${read - bytesRead} bytes came for ${size}`);
      assert.ok(written - bytesWritten < size / 4, `${written - bytesWritten} bytes went for ${size}`);
      await peer.echo([largeText(LARGE), largeBinary(LARGE)], "large");
      await peer.close();
    }
  }
}

async function main([base, ...names]) {
  const known = { ...everyday, ...special };
  if (!URL.canParse(base) || names.some(name => !Object.hasOwn(known, name))) {
    console.error(`usage: client.mjs <url> [${Object.keys(known).join("|")}] ...`);
    return 2;
  }
  let failures = 0;
  for (const name of names.length ? names : Object.keys(everyday)) {
    const [seconds, scenario] = known[name];
    const since = Date.now();
    const limit = new AbortController();
    const late = sleep(seconds * 1000, undefined, { signal: limit.signal }).then(() => {
      throw new Error(`not done after ${seconds} s${stillWaiting()}`);
    });
    late.catch(() => {});
    try {
      await Promise.race([scenario(base), late]);
      console.log(`ok ${name} ${Date.now() - since} ms`);
    } catch (error) {
      failures++;
      console.log(`FAILED ${name}: ${error.message}`);
      console.error(error.stack);
    }
    limit.abort();
    forget();
  }
  return failures ? 1 : 0;
}

// Ends sockets that a failed scenario left open, too.
process.exit(await main(process.argv.slice(2)));
