// How is the compiler made small enough to keep in the repository? Brotli at its best level: 19 MB become 3.4.
import { readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, constants } from "node:zlib";

const [from, to] = process.argv.slice(2);
const raw = readFileSync(from);
const params = {
  [constants.BROTLI_PARAM_QUALITY]: 11,
  [constants.BROTLI_PARAM_LGWIN]: 24,
  [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
};
writeFileSync(to, brotliCompressSync(raw, { params }));
