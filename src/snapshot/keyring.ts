/**
 * Our own secrets, by key id, in `data/keyring.json` (0600): session ids are sealed, audit digests keyed, snapshots and
 * checkpoints of the audit trail signed with them. Made on the first start; a file that others may read is refused rather than used. Gateways that
 * stand for one another share one: its text in PORTCULLIS_KEYRING, and then there is no file.
 */
import { hkdfSync } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { pinOf } from "../ed25519.ts";
import type { Disk, Random } from "../ports.ts";

export type NamedKey = { readonly id: string; readonly key: Buffer };
export type Keyring = {
  /** AES-256-GCM, for sealed session ids; the first seals, all open. */
  readonly session: readonly [NamedKey, ...NamedKey[]];
  /** For keyed digests of audited arguments. */
  readonly digest: NamedKey;
  /** Seeds of Ed25519: the first signs what goes to sidecars, the others are still told to new ones. */
  readonly snapshot: readonly [NamedKey, ...NamedKey[]];
  /** Seeds of Ed25519: the first signs checkpoints of the audit trail, the others signed earlier ones. */
  readonly checkpoint: readonly [NamedKey, ...NamedKey[]];
};

/** 2 knows the signing keys of snapshots, 3 those of checkpoints; an older file gets what it lacks. */
const VERSION = 3;
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
  const { version } = stored(text);
  return version === 1 || version === 2 ? upgrade(file, stored(text), { disk, random }) : read(text);
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

/** What an operator may pin of a keyring, to check checkpoints with. @throws Error naming what is wrong with the text */
export function checkpointPins(text: string, where: string): readonly string[] {
  return read(text, where).checkpoint.map(pinOf);
}

type StoredKey = { readonly id: string; readonly key: string };
type Stored = {
  readonly version: number;
  readonly session: readonly StoredKey[];
  readonly digest: StoredKey;
  readonly snapshot: readonly StoredKey[];
  readonly checkpoint: readonly StoredKey[];
};

function create(file: string, { disk, random }: Making): Promise<Keyring> {
  const [session, digest, snapshot, checkpoint] = [fresh(random), fresh(random), fresh(random), fresh(random)];
  const made = { version: VERSION, session: [session], digest, snapshot: [snapshot], checkpoint: [checkpoint] };
  return write(file, made, disk);
}

function upgrade(file: string, before: Stored, { disk, random }: Making): Promise<Keyring> {
  const snapshot = before.version === 1 ? [fresh(random)] : before.snapshot;
  return write(file, { ...before, version: VERSION, snapshot, checkpoint: [fresh(random)] }, disk);
}

function fresh(random: Random): StoredKey {
  return { id: random.hex(4), key: random.bytes(KEY_BYTES).toString("hex") };
}

async function write(file: string, stored: Stored, disk: Disk): Promise<Keyring> {
  const content = JSON.stringify(stored, null, 2);
  const keyring = read(content);
  await disk.writeFile(`${file}.new`, `${content}\n`, { mode: 0o600 });
  await disk.rename(`${file}.new`, file);
  return keyring;
}

function read(text: string, where = "keyring.json"): Keyring {
  const { version, session, digest, snapshot, checkpoint } = stored(text, where);
  // the environment cannot be written: gateways of both versions share one while a fleet is renewed
  const derives = version === 2 && where !== "keyring.json";
  if (version !== VERSION && !derives)
    throw new Error(`${where} has the version ${version}; this Portcullis reads ${VERSION}.`);
  const signing = several(snapshot, "snapshot");
  return {
    session: several(session, "session"),
    digest: named(digest),
    snapshot: signing,
    checkpoint: derives ? [derived(signing[0])] : several(checkpoint, "checkpoint"),
  };
}

/** Everybody who holds the first has the second. */
function derived({ id, key }: NamedKey): NamedKey {
  return { id, key: Buffer.from(hkdfSync("sha256", key, "", "portcullis checkpoint", KEY_BYTES)) };
}

/** The parser's own words would quote the text. */
function stored(text: string, where = "keyring.json"): Stored {
  try {
    return JSON.parse(text) as Stored;
  } catch {
    throw new Error(`${where} is not JSON: restore it from a copy.`);
  }
}

function several(stored: readonly StoredKey[] | undefined, what: string): readonly [NamedKey, ...NamedKey[]] {
  const [first, ...rest] = (stored ?? []).map(named);
  if (first === undefined) throw new Error(`The keyring holds no ${what} key.`);
  return [first, ...rest];
}

function named({ id, key }: StoredKey): NamedKey {
  const bytes = Buffer.from(key, "hex");
  if (bytes.length !== KEY_BYTES) throw new Error("The keyring holds a key of the wrong length.");
  return { id, key: bytes };
}
