/**
 * What was in force last? A sidecar's last good snapshot, in a folder: its signed manifest, one file for each part by
 * digest, and when the control plane was last heard. What surprises: it is believed no more than what comes over the
 * wire; signature and digests are checked again when it is read.
 */
import { join } from "node:path";
import type { Disk } from "../ports.ts";
import type { Texts } from "./received.ts";
import { textsOf, unseal } from "./seal.ts";
import type { Manifest, Sealed } from "./seal.ts";

export type Kept = { readonly sealed: Sealed; readonly manifest: Manifest; readonly texts: Texts };
export type LastGood = {
  /** Null where there is none that these keys signed. */
  readonly load: (pins: readonly string[]) => Promise<Kept | null>;
  /** Parts first, then the manifest that names them: a crash between leaves the one before whole. */
  readonly save: (kept: Kept) => Promise<void>;
  /** Unix epoch, milliseconds; null if never. */
  readonly heardMs: () => Promise<number | null>;
  readonly saveHeard: (ms: number) => Promise<void>;
  /** Nothing is being written, and nothing more will be. */
  readonly close: () => Promise<void>;
};

const MANIFEST = "manifest.json";
const HEARD = "heard";
const VERSION = 1;

export async function openLastGood(folder: string, disk: Disk): Promise<LastGood> {
  await disk.mkdir(folder, { recursive: true, mode: 0o700 });
  let last: Promise<unknown> = Promise.resolve();
  let closed = false;
  /** One write at a time: two could meet in one file. */
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = last.then(() => (closed ? undefined : work()));
    last = done.catch(() => undefined);
    return done;
  };
  const write = async (name: string, text: string): Promise<void> => {
    await disk.writeFile(join(folder, `${name}.new`), text, { mode: 0o600 });
    await disk.rename(join(folder, `${name}.new`), join(folder, name));
  };
  return {
    load: async (pins) => {
      try {
        return await read(folder, pins, disk);
      } catch {
        return null;
      }
    },
    save: ({ sealed, manifest, texts }) =>
      inTurn(async () => {
        const there = new Set(await disk.readdir(folder));
        const wanted = new Set(manifest.parts.map(({ digest }) => digest));
        for (const digest of wanted) if (!there.has(digest)) await write(digest, texts.get(digest) ?? "");
        await write(MANIFEST, JSON.stringify({ version: VERSION, ...sealed }));
        for (const name of there)
          if (/^[0-9a-f]{64}(\.new)?$/.test(name) && !wanted.has(name)) await disk.unlink(join(folder, name));
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

async function read(folder: string, pins: readonly string[], disk: Disk): Promise<Kept | null> {
  const { version, ...sealed } = JSON.parse(await disk.readFile(join(folder, MANIFEST), "utf8")) as Sealed & {
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
