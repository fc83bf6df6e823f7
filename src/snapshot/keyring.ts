/**
 * Our own secrets, by key id, in `data/keyring.json` (0600): session ids are sealed and audit digests keyed with them.
 * Made on the first start; a file that others may read is refused rather than used.
 */
import { isDeepStrictEqual } from "node:util";
import type { Disk, Random } from "../ports.ts";

export type NamedKey = { readonly id: string; readonly key: Buffer };
export type Keyring = {
  /** AES-256-GCM, for sealed session ids; the first seals, all open. */
  readonly session: readonly [NamedKey, ...NamedKey[]];
  /** For keyed digests of audited arguments. */
  readonly digest: NamedKey;
};

const VERSION = 1;
const KEY_BYTES = 32;

/** @throws Error naming what is wrong with the file */
export async function openKeyring(file: string, disk: Disk, random: Random): Promise<Keyring> {
  const text = await disk.readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return null;
    throw cause;
  });
  if (text === null) return create(file, disk, random);
  const { mode } = await disk.stat(file);
  if ((mode & 0o077) !== 0)
    throw new Error("keyring.json can be read by others: chmod 600 it, and rotate what it holds.");
  return read(text);
}

/** Null, or what is wrong with the file by now: the next start reads it again. */
export async function keyringFault(file: string, inForce: Keyring, disk: Disk): Promise<string | null> {
  try {
    const { mode } = await disk.stat(file);
    if ((mode & 0o077) !== 0) return "others can read it: chmod 600 data/keyring.json, and rotate what it holds";
    const same = isDeepStrictEqual(read(await disk.readFile(file, "utf8")), inForce);
    return same ? null : "the file holds other keys than those in force";
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT")
      return "the file is gone: after the next start no session can be resumed and no digest compared";
    return "the file cannot be read";
  }
}

async function create(file: string, disk: Disk, random: Random): Promise<Keyring> {
  const fresh = () => ({ id: random.hex(4), key: random.bytes(KEY_BYTES).toString("hex") });
  const content = JSON.stringify({ version: VERSION, session: [fresh()], digest: fresh() }, null, 2);
  await disk.writeFile(`${file}.new`, `${content}\n`, { mode: 0o600 });
  await disk.rename(`${file}.new`, file);
  return read(content);
}

function read(text: string): Keyring {
  const { version, session, digest } = JSON.parse(text) as { version: number; session: StoredKey[]; digest: StoredKey };
  if (version !== VERSION)
    throw new Error(`keyring.json has the version ${version}; this Portcullis reads ${VERSION}.`);
  const [first, ...rest] = session.map(named);
  if (first === undefined) throw new Error("keyring.json holds no session key.");
  return { session: [first, ...rest], digest: named(digest) };
}

type StoredKey = { readonly id: string; readonly key: string };

function named({ id, key }: StoredKey): NamedKey {
  const bytes = Buffer.from(key, "hex");
  if (bytes.length !== KEY_BYTES) throw new Error("keyring.json holds a key of the wrong length.");
  return { id, key: bytes };
}
