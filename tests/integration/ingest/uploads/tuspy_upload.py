"""One upload with the real tuspy: FILE ENDPOINT KEY CHUNK_BYTES. Prints the upload's URL."""

import json
import sys

from tusclient.client import TusClient
from tusclient.uploader import uploader as module


def main(file: str, endpoint: str, key: str, chunk_bytes: str) -> None:
    client = TusClient(endpoint, headers={"X-Api-Key": key})
    upload = client.uploader(file, chunk_size=int(chunk_bytes), retries=150, retry_delay=0.5, upload_checksum=True)
    real, tried = module.Uploader._retry_or_cry, []

    def counted(self: module.Uploader, error: Exception) -> None:
        tried.append(str(error))
        real(self, error)

    module.Uploader._retry_or_cry = counted
    upload.upload()
    sys.stdout.write(json.dumps({"url": upload.url, "retries": len(tried)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
