/**
 * Does package-lock.json name the build of every platform? `npm install` leaves out optional packages that its
 * registry could not show it, and `npm ci` then refuses the file. `node test/support/lockfile.ts --write` puts them
 * in: name, version, system; a machine that needs one of them gets its digest from its own registry.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

type Entry = {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: { readonly [name: string]: string };
  readonly [field: string]: unknown;
};
type Lockfile = { readonly packages: { readonly [path: string]: Entry } };
type Missing = { readonly name: string; readonly version: string; readonly dev: boolean };

export function missingOptional({ packages }: Lockfile): readonly Missing[] {
  return Object.entries(packages).flatMap(([path, entry]) =>
    Object.entries(entry.optionalDependencies ?? {})
      .filter(([name]) => !places(path, name).some((place) => place in packages))
      .map(([name, version]) => ({ name, version, dev: entry.dev === true })),
  );
}

export function readLockfile(file: string): Lockfile {
  return JSON.parse(readFileSync(file, "utf8")) as Lockfile;
}

/** Where Node would look for `name` from the package at `path`, innermost first. */
function places(path: string, name: string): readonly string[] {
  const found = [`${path === "" ? "" : `${path}/`}node_modules/${name}`];
  for (let at = path.lastIndexOf("node_modules/"); at !== -1; at = path.lastIndexOf("node_modules/", at - 1)) {
    found.push(`${path.slice(0, at)}node_modules/${name}`);
    if (at === 0) break;
  }
  return found;
}

const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const PROCESSORS = ["arm", "arm64", "ia32", "loong64", "ppc64", "riscv64", "s390x", "x64"];

/** What a platform package's name says of the platform. */
function entryOf({ name, version, dev }: Missing): Entry {
  const words = name.split(/[/-]/);
  const os = SYSTEMS.find((system) => words.includes(system));
  const cpu = PROCESSORS.find((processor) => words.includes(processor));
  const libc = words.some((word) => word.startsWith("musl")) ? "musl" : "glibc";
  return {
    version: version.replace(/^[\^~]/, ""),
    ...(cpu === undefined ? {} : { cpu: [cpu] }),
    ...(dev ? { dev } : {}),
    ...(os === "linux" ? { libc: [libc] } : {}),
    optional: true,
    ...(os === undefined ? {} : { os: [os] }),
  };
}

if (import.meta.main) {
  const file = join(import.meta.dirname, "../../package-lock.json");
  const lockfile = readLockfile(file);
  const missing = missingOptional(lockfile);
  const added = Object.fromEntries(missing.map((one) => [`node_modules/${one.name}`, entryOf(one)]));
  const all = Object.entries({ ...lockfile.packages, ...added }).toSorted(([one], [other]) => (one < other ? -1 : 1));
  const whole = { ...lockfile, packages: Object.fromEntries(all) };
  if (process.argv.includes("--write")) writeFileSync(file, `${JSON.stringify(whole, null, 2)}\n`);
  process.stderr.write(
    `${missing.length} optional packages ${process.argv.includes("--write") ? "added" : "missing"}\n`,
  );
}
