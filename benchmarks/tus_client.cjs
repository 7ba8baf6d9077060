// One upload with tus-js-client: FOLDER FILE ENDPOINT KEY. Prints the seconds that it took, and its URL.
"use strict";
const { createReadStream } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");

const [folder, file, endpoint, key] = process.argv.slice(2);
const tus = createRequire(join(folder, "node_modules", "anything.js"))("tus-js-client");
const started = process.hrtime.bigint();
const upload = new tus.Upload(createReadStream(file), {
  endpoint,
  headers: { "X-Api-Key": key },
  metadata: { filename: "film.mp4" },
  retryDelays: null,
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => {
    console.log(Number(process.hrtime.bigint() - started) / 1e9, upload.url);
    process.exit(0);
  },
});
upload.start();
