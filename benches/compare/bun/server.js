// Bun: @socket.io/bun-engine, or a plain WebSocket echo, whose server is uWebSockets.
// usage: bun server.js PORT engine|websocket [CERTIFICATE KEY]
import { Server } from "@socket.io/bun-engine";

const [port, mode, certificate, key] = process.argv.slice(2);
const tls = certificate && { cert: Bun.file(certificate), key: Bun.file(key) };
const listen = { port: Number(port), hostname: "127.0.0.1", ...(tls && { tls }) };

if (mode === "websocket") {
  Bun.serve({
    ...listen,
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("no upgrade", { status: 400 })),
    websocket: { message: (socket, data) => socket.send(data), perMessageDeflate: false, idleTimeout: 0 },
  });
} else {
  const engine = new Server({ path: "/engine.io/", pingInterval: 25000, pingTimeout: 20000, maxHttpBufferSize: 1e6 });
  engine.on("connection", (socket) => socket.on("data", (data) => socket.write(data)));
  Bun.serve({ ...listen, ...engine.handler() });
}
