/**
 * Which text made that decision? Every policy that came into force here, in shadow too, by its revision: the bundle and
 * the roles that it was loaded with. What surprises: a folder's text is nowhere else once somebody has edited it; and a
 * failure to write costs an explanation later, nothing else.
 */
import { join } from "node:path";
import type { Disk, Log, Random } from "../ports.ts";
import type { Roles } from "./data.ts";
import { stringifyWith, textOf } from "./data.ts";
import type { Bundle, Texts } from "./sources.ts";

export type Archived = {
  readonly revision: string;
  readonly at: string;
  readonly bundle: Bundle;
  readonly roles: Roles;
};
type Kept = Omit<Archived, "bundle"> & { readonly bundle: Texts };
export type Archive = {
  /** Once for each revision; resolves when it is on disk, or cannot be. */
  readonly keep: (archived: Kept) => Promise<void>;
  /** By its revision, or so much of its beginning that there is no other; null where it is not kept. */
  readonly read: (revision: string) => Promise<Archived | null>;
};
type ArchivePorts = {
  readonly disk: Pick<Disk, "mkdir" | "readdir" | "readFile" | "writeFile" | "rename" | "unlink" | "stat">;
  readonly random: Pick<Random, "hex">;
  readonly log: Pick<Log, "warn">;
};

const FORMAT = 1;
const FILES_MAX = 500;
const PREFIX = /^[0-9a-f]{8,64}$/;

export function createArchive({ disk, random, log }: ArchivePorts, dir: string): Archive {
  const known = new Set<string>();
  const keep = async (archived: Kept): Promise<void> => {
    await disk.mkdir(dir, { recursive: true, mode: 0o700 });
    const names = await disk.readdir(dir);
    if (names.includes(`${archived.revision}.json`)) return;
    const draft = join(dir, `${random.hex(8)}.tmp`);
    await disk.writeFile(draft, written(archived), { mode: 0o600 });
    await disk.rename(draft, join(dir, `${archived.revision}.json`));
    if (names.length >= FILES_MAX) await forgetOldest(disk, dir);
  };
  return {
    keep: async (archived) => {
      if (known.has(archived.revision)) return;
      known.add(archived.revision);
      await keep(archived).catch((cause: unknown) => {
        known.delete(archived.revision);
        log.warn({ err: cause }, "the text of a policy could not be kept");
      });
    },
    read: async (revision) => {
      if (!PREFIX.test(revision)) return null;
      const names = await disk.readdir(dir).catch(() => []);
      const found = names.filter((name) => name.startsWith(revision) && name.endsWith(".json"));
      const [name] = found;
      if (name === undefined || found.length > 1) return null;
      const text = await disk.readFile(join(dir, name), "utf8").catch(() => null);
      return text === null ? null : parse(text);
    },
  };
}

function written({ bundle: { data, ...files }, ...archived }: Kept): string {
  return stringifyWith({ format: FORMAT, ...archived }, "bundle", stringifyWith(files, "data", textOf(data)));
}

/** What was cut short, or written by a later version, is as good as absent. */
function parse(text: string): Archived | null {
  try {
    const { format, ...archived } = JSON.parse(text) as Archived & { readonly format: number };
    return format === FORMAT ? archived : null;
  } catch {
    return null;
  }
}

async function forgetOldest(disk: ArchivePorts["disk"], dir: string): Promise<void> {
  const names = await disk.readdir(dir);
  const files = await Promise.all(
    names.map(async (name) => ({ name, at: (await disk.stat(join(dir, name))).mtimeMs })),
  );
  for (const { name } of files.toSorted((a, b) => b.at - a.at).slice(FILES_MAX)) await disk.unlink(join(dir, name));
}
