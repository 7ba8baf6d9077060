// One upload with the real tus-js-client: FILE ENDPOINT KEY. Prints the upload's URL, or says what went wrong and ends with 1.
// Its folder is in TUS_JS, since it is no dependency of Dubline (scripts/test-tools).
"use strict";
const { createReadStream } = require("node:fs");
const { createRequire } = require("node:module");
const { join } = require("node:path");

const tus = createRequire(join(process.env.TUS_JS, "node_modules", "anything.js"))("tus-js-client");
const [file, endpoint, key] = process.argv.slice(2);
let retries = 0;

const upload = new tus.Upload(createReadStream(file), {
  endpoint,
  headers: { "X-Api-Key": key },
  metadata: { filename: "фильм.mp4", filetype: "video/mp4" },
  retryDelays: Array.from({ length: 200 }, (_, n) => Math.min(50 * (n + 1), 500)),
  onShouldRetry: (error, attempt, options) => {
    retries += 1;
    const status = error.originalResponse ? error.originalResponse.getStatus() : 0;
    return status === 0 || status === 409 || status >= 500;
  },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => {
    console.log(JSON.stringify({ url: upload.url, retries }));
    process.exit(0);
  },
});
upload.start();
