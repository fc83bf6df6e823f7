/**
 * Our own secrets, by key id, in `data/keyring.json` (0600): session ids are sealed, audit digests keyed and snapshots
 * signed with them. Made on the first start; a file that others may read is refused rather than used. Gateways that
 * stand for one another share one: its text in PORTCULLIS_KEYRING, and then there is no file.
 */
import { isDeepStrictEqual } from "node:util";
import type { Disk, Random } from "../ports.ts";

export type NamedKey = { readonly id: string; readonly key: Buffer };
export type Keyring = {
  /** AES-256-GCM, for sealed session ids; the first seals, all open. */
  readonly session: readonly [NamedKey, ...NamedKey[]];
  /** For keyed digests of audited arguments. */
  readonly digest: NamedKey;
  /** Seeds of Ed25519: the first signs what goes to sidecars, the others are still told to new ones. */
  readonly snapshot: readonly [NamedKey, ...NamedKey[]];
};

/** 2 knows the signing keys of snapshots; a file of version 1 gets one. */
const VERSION = 2;
const KEY_BYTES = 32;

export type KeyringPlace = {
  readonly file: string;
  /** The text itself, from the environment; null where the file counts. */
  readonly given: string | null;
};
type Making = { readonly disk: Disk; readonly random: Random };

/** @throws Error naming what is wrong with the file */
export async function openKeyring({ file, given }: KeyringPlace, { disk, random }: Making): Promise<Keyring> {
  if (given !== null) return read(given, "PORTCULLIS_KEYRING");
  const text = await disk.readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return null;
    throw cause;
  });
  if (text === null) return create(file, { disk, random });
  const { mode } = await disk.stat(file);
  if ((mode & 0o077) !== 0)
    throw new Error("keyring.json can be read by others: chmod 600 it, and rotate what it holds.");
  return stored(text).version === 1 ? upgrade(file, stored(text), { disk, random }) : read(text);
}

/** Null, or what is wrong with the file by now: the next start reads it again. */
export async function keyringFault(
  { file, given }: KeyringPlace,
  inForce: Keyring,
  disk: Disk,
): Promise<string | null> {
  if (given !== null) return null;
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

type StoredKey = { readonly id: string; readonly key: string };
type Stored = {
  readonly version: number;
  readonly session: readonly StoredKey[];
  readonly digest: StoredKey;
  readonly snapshot: readonly StoredKey[];
};

function create(file: string, { disk, random }: Making): Promise<Keyring> {
  const [session, digest, snapshot] = [fresh(random), fresh(random), fresh(random)];
  return write(file, { version: VERSION, session: [session], digest, snapshot: [snapshot] }, disk);
}

function upgrade(file: string, before: Stored, { disk, random }: Making): Promise<Keyring> {
  return write(file, { ...before, version: VERSION, snapshot: [fresh(random)] }, disk);
}

function fresh(random: Random): StoredKey {
  return { id: random.hex(4), key: random.bytes(KEY_BYTES).toString("hex") };
}

async function write(file: string, stored: Stored, disk: Disk): Promise<Keyring> {
  const content = JSON.stringify(stored, null, 2);
  await disk.writeFile(`${file}.new`, `${content}\n`, { mode: 0o600 });
  await disk.rename(`${file}.new`, file);
  return read(content);
}

function read(text: string, where = "keyring.json"): Keyring {
  const { version, session, digest, snapshot } = stored(text, where);
  if (version !== VERSION) throw new Error(`${where} has the version ${version}; this Portcullis reads ${VERSION}.`);
  return { session: several(session, "session"), digest: named(digest), snapshot: several(snapshot, "snapshot") };
}

/** The parser's own words would quote the text. */
function stored(text: string, where = "keyring.json"): Stored {
  try {
    return JSON.parse(text) as Stored;
  } catch {
    throw new Error(`${where} is not JSON: restore it from a copy.`);
  }
}

function several(stored: readonly StoredKey[], what: string): readonly [NamedKey, ...NamedKey[]] {
  const [first, ...rest] = stored.map(named);
  if (first === undefined) throw new Error(`The keyring holds no ${what} key.`);
  return [first, ...rest];
}

function named({ id, key }: StoredKey): NamedKey {
  const bytes = Buffer.from(key, "hex");
  if (bytes.length !== KEY_BYTES) throw new Error("The keyring holds a key of the wrong length.");
  return { id, key: bytes };
}
