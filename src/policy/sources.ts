/**
 * What is in the bundle? All `.rego` and `data.json` files under a folder; a `data.json` in a subfolder is mounted at
 * that path, as OPA does. What surprises: links are followed (a mounted ConfigMap is made of them); names that begin
 * with a dot are not part of a bundle, nor is a folder that holds a Go module (the compiler's own source).
 */
import { join } from "node:path";
import { whyUnreadable } from "../config-expand.ts";
import { isObject, JsonFault, parseJsonText } from "../json.ts";
import type { JsonObject } from "../model.ts";
import type { Disk } from "../ports.ts";
import { type Data, dataOf } from "./data.ts";
import { type Diagnostic, fault, PolicyRefused } from "./diagnostic.ts";
import { findJsonFault, place } from "./scan.ts";
import { RESERVED_PATHS } from "./wrapper.ts";

/** As it is applied and shown. */
export type Bundle = {
  /** What is enforced, by path inside the bundle. */
  readonly modules: { readonly [path: string]: string };
  /** The files named `*_test.rego`. */
  readonly tests: { readonly [path: string]: string };
  readonly data: JsonObject;
};
/** As it is loaded. */
export type Texts = Omit<Bundle, "data"> & { readonly data: Data };
/** What of a folder is a bundle: text by path. */
export type FolderFiles = ReadonlyMap<string, string>;
type Reads = Pick<Disk, "readdir" | "readFile" | "stat">;

const FOLDER_DEPTH_MAX = 16;

/** The same texts from wherever the bundle came, its files in the order of their paths. @throws PolicyRefused */
export function textsOf({ modules, tests, data }: Bundle): Texts {
  assertUnreserved(data, "data.json");
  return { modules: sorted(modules), tests: sorted(tests), data: dataOf(data) };
}

function sorted(files: Bundle["modules"]): Bundle["modules"] {
  return Object.fromEntries(Object.entries(files).toSorted(([one], [other]) => (one < other ? -1 : 1)));
}

/** `named`: as it is told of. @throws PolicyRefused if it cannot be read, is empty, or its data is not sound */
export async function readBundle(disk: Reads, dir: string, named = dir): Promise<Bundle> {
  return bundleIn(await readFolder(disk, dir), named);
}

/** @throws PolicyRefused if it cannot be read */
export async function readFolder(disk: Reads, dir: string): Promise<FolderFiles> {
  const files = new Map<string, string>();
  for (const path of await list(disk, dir))
    files.set(path, await disk.readFile(join(dir, path), "utf8").catch(unreadable(join(dir, path))));
  return files;
}

/** `named`: as it is told of. @throws PolicyRefused if it is empty, or its data is not sound */
export function bundleIn(files: FolderFiles, named: string): Bundle {
  const modules: { [path: string]: string } = {};
  const tests: { [path: string]: string } = {};
  let data: JsonObject = {};
  for (const [path, text] of files) {
    if (path.endsWith("_test.rego")) tests[path] = text;
    else if (path.endsWith(".rego")) modules[path] = text;
    else data = merge(data, mount(path, readData(path, text)), path);
  }
  if (Object.keys(modules).length === 0)
    throw new PolicyRefused([fault("empty_bundle", `there are no .rego files in ${named}`)]);
  assertUnreserved(data, "data.json");
  return { modules: sorted(modules), tests: sorted(tests), data };
}

/** Paths relative to the bundle, with `/`, sorted: the order decides nothing, but must not change a digest. */
async function list(disk: Reads, dir: string, under = "", depth = 0): Promise<readonly string[]> {
  if (depth > FOLDER_DEPTH_MAX)
    throw new PolicyRefused([fault("bundle_too_deep", `${under} is nested more than ${FOLDER_DEPTH_MAX} deep`)]);
  const names = await disk.readdir(join(dir, under)).catch(unreadable(join(dir, under)));
  if (names.includes("go.mod")) return [];
  const found: string[] = [];
  for (const name of names.toSorted()) {
    if (name.startsWith(".")) continue;
    const path = under === "" ? name : `${under}/${name}`;
    // beside policies stands what others write: a file of theirs may be gone by now
    const there = await disk.stat(join(dir, path)).catch(goneOrUnreadable(join(dir, path)));
    if (there === null) continue;
    if (there.isDirectory()) found.push(...(await list(disk, dir, path, depth + 1)));
    else if (name.endsWith(".rego") || name === "data.json") found.push(path);
  }
  return found;
}

function unreadable(path: string): (cause: unknown) => never {
  return (cause) => {
    throw new PolicyRefused([fault("bundle_unreadable", `${path}: ${whyUnreadable(cause)}`)]);
  };
}

function goneOrUnreadable(path: string): (cause: unknown) => null {
  return (cause) => ((cause as NodeJS.ErrnoException).code === "ENOENT" ? null : unreadable(path)(cause));
}

function readData(file: string, text: string): JsonObject {
  try {
    JSON.parse(text); // the strict parser says what else is wrong
    const value = parseJsonText(text);
    if (isObject(value)) return value;
    throw new PolicyRefused([{ code: "data_shape", message: "data.json must hold an object", file, row: 1, col: 1 }]);
  } catch (error) {
    if (error instanceof PolicyRefused) throw error;
    throw new PolicyRefused([dataFault(file, text, error)]);
  }
}

function dataFault(file: string, text: string, error: unknown): Diagnostic {
  if (error instanceof JsonFault) return { code: "data_fault", message: error.message, file, row: 1, col: 1 };
  return { code: "data_parse_error", message: "this is not JSON", file, ...place(text, findJsonFault(text)) };
}

/** `a/b/data.json` stands at `data.a.b`. */
function mount(path: string, value: JsonObject): JsonObject {
  const mounted = path
    .split("/")
    .slice(0, -1)
    .reduceRight<JsonObject>((inner, folder) => ({ [folder]: inner }), value);
  assertUnreserved(mounted, path);
  return mounted;
}

function assertUnreserved(data: JsonObject, file: string): void {
  for (const reserved of RESERVED_PATHS) {
    if (has(data, reserved.split("."))) {
      const message = `data.${reserved} belongs to the gateway: no data may stand there`;
      throw new PolicyRefused([{ code: "reserved_path", message, file, row: 1, col: 1 }]);
    }
  }
}

/** Also true if something that is no object stands in the way of the path. */
function has(object: JsonObject, [first = "", ...rest]: readonly string[]): boolean {
  if (!Object.hasOwn(object, first)) return false;
  const value = object[first];
  return rest.length === 0 || !isObject(value) || has(value, rest);
}

function merge(into: JsonObject, from: JsonObject, file: string): JsonObject {
  const merged = new Map(Object.entries(into));
  for (const [key, value] of Object.entries(from)) {
    const old = merged.get(key);
    if (old !== undefined && !(isObject(old) && isObject(value))) {
      throw new PolicyRefused([
        { code: "data_conflict", message: `another data.json also defines ${key}`, file, row: 1, col: 1 },
      ]);
    }
    merged.set(key, isObject(old) && isObject(value) ? merge(old, value, file) : value);
  }
  return Object.fromEntries(merged);
}
