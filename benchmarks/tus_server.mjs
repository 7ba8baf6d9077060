// @tus/server with its own file store: FOLDER PORT DIRECTORY.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, port, directory] = process.argv.slice(2);
const require = createRequire(join(folder, "node_modules", "anything.js"));
const { Server } = require("@tus/server");
const { FileStore } = require("@tus/file-store");

const server = new Server({ path: "/api/uploads/tus", datastore: new FileStore({ directory }) });
createServer((request, response) => {
  if (request.url === "/readyz") {
    response.end();
  } else {
    server.handle(request, response);
  }
}).listen(Number(port), "127.0.0.1");
