/**
 * What was in force last, and what had been said since? A sidecar's folder: the signed manifest of the last good
 * snapshot, that of the newest one where it could not be put in force, one file for each part by digest, and when the
 * control plane confirmed it last. What surprises: all of it is believed no more than what comes over the wire;
 * signature and digests are checked again when it is read.
 */
import { join } from "node:path";
import type { Disk, Log } from "../ports.ts";
import type { Texts } from "./received.ts";
import { textsOf, unseal } from "./seal.ts";
import type { Manifest, Sealed } from "./seal.ts";

export type Kept = { readonly sealed: Sealed; readonly manifest: Manifest; readonly texts: Texts };
export type LastGood = {
  /** Null where there is none that is whole and that these keys signed. */
  readonly load: (pins: readonly string[]) => Promise<{ readonly good: Kept | null; readonly newest: Kept | null }>;
  /** Verified, and not in force yet: what it takes away must not come back with a restart. */
  readonly saveNewest: (newest: Kept, good: Kept | null) => Promise<void>;
  readonly saveGood: (good: Kept) => Promise<void>;
  /** Unix epoch, milliseconds; null if never. */
  readonly heardMs: () => Promise<number | null>;
  readonly saveHeard: (ms: number) => Promise<void>;
  /** Nothing is being written, and nothing more will be. */
  readonly close: () => Promise<void>;
};

const GOOD = "manifest.json";
const NEWEST = "newest.json";
const HEARD = "heard";
const VERSION = 1;

export async function openLastGood(
  folder: string,
  { disk, log }: { readonly disk: Disk; readonly log: Log },
): Promise<LastGood> {
  await disk.mkdir(folder, { recursive: true, mode: 0o700 });
  let last: Promise<unknown> = Promise.resolve();
  let closed = false;
  /** Parts that this process wrote, or read and found right; another file of such a name may be damaged. */
  const whole = new Set<string>();
  /** One write at a time: two could meet in one file. */
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = last.then(() => (closed ? undefined : work()));
    last = done.catch(() => undefined);
    return done;
  };
  const write = (name: string, text: string): Promise<void> => replace(join(folder, name), text, disk);
  const keep = async (name: string, { sealed, manifest, texts }: Kept): Promise<void> => {
    // parts first: a crash between leaves the manifest before whole
    for (const { digest } of manifest.parts) {
      if (whole.has(digest)) continue;
      await write(digest, texts.get(digest) ?? "");
      whole.add(digest);
    }
    await write(name, JSON.stringify({ version: VERSION, ...sealed }));
  };
  const tidy = async (...kept: readonly (Kept | null)[]): Promise<void> => {
    const wanted = new Set(kept.flatMap((one) => one?.manifest.parts.map(({ digest }) => digest) ?? []));
    for (const name of await disk.readdir(folder)) {
      if (!/^[0-9a-f]{64}(\.new)?$/.test(name) || wanted.has(name)) continue;
      whole.delete(name);
      await disk.unlink(join(folder, name));
    }
  };
  const load = async (name: string, pins: readonly string[]): Promise<Kept | null> => {
    try {
      const kept = await read(folder, { name, pins }, disk);
      for (const digest of kept?.texts.keys() ?? []) whole.add(digest);
      return kept;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "ENOENT" || name !== NEWEST)
        log.warn({ err: cause, name }, "a snapshot on disk cannot be used");
      return null;
    }
  };
  return {
    load: async (pins) => ({ good: await load(GOOD, pins), newest: await load(NEWEST, pins) }),
    saveNewest: (newest, good) => inTurn(() => keep(NEWEST, newest).then(() => tidy(newest, good))),
    saveGood: (good) =>
      inTurn(async () => {
        await keep(GOOD, good);
        await disk.unlink(join(folder, NEWEST)).catch(() => undefined);
        await tidy(good);
      }),
    heardMs: async () => {
      const ms = Number(await disk.readFile(join(folder, HEARD), "utf8").catch(() => ""));
      return Number.isFinite(ms) && ms > 0 ? ms : null;
    },
    saveHeard: (ms) => inTurn(() => write(HEARD, String(Math.floor(ms)))),
    close: async () => {
      closed = true;
      await last;
    },
  };
}

/** Whole or as before, after a loss of power too. */
async function replace(path: string, text: string, disk: Disk): Promise<void> {
  const file = await disk.open(`${path}.new`, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
  await disk.rename(`${path}.new`, path);
}

type Named = { readonly name: string; readonly pins: readonly string[] };

async function read(folder: string, { name, pins }: Named, disk: Disk): Promise<Kept | null> {
  const { version, ...sealed } = JSON.parse(await disk.readFile(join(folder, name), "utf8")) as Sealed & {
    readonly version: number;
  };
  if (version !== VERSION) return null;
  const manifest = unseal(sealed, pins);
  const files = await Promise.all(
    manifest.parts.map(async ({ digest }) => [digest, await disk.readFile(join(folder, digest), "utf8")] as const),
  );
  const found = new Map(files);
  const texts = textsOf(manifest, (digest) => ({ text: found.get(digest) ?? "", checked: false }));
  return { sealed, manifest, texts };
}
