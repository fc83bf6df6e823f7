/**
 * What does the operator's file say, and on which line is it wrong? YAML → values with lines → `${…}` expanded →
 * the schema of config.ts → checks across sections. Every problem is reported, not only the first. What surprises:
 * values are taken from the syntax tree by our own walk, because that is where a value still knows its line and where
 * aliases can be counted.
 */
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { Document, YAMLMap } from "yaml";
import { checkConfig } from "./config-check.ts";
import { expand, whyUnreadable } from "./config-expand.ts";
import type { Env, Files } from "./config-expand.ts";
import { configSchema } from "./config.ts";
import type { Config, Path, Problem } from "./config.ts";
import { explain } from "./config-explain.ts";

export type ConfigFile = {
  readonly config: Config;
  /** `file:line: message`, for what is legal and probably not meant. */
  readonly warnings: readonly string[];
};

/** The file cannot be used. Each of `problems` is `file:line: message`; none quotes a value, which may be a secret. */
export class ConfigFault extends Error {
  override readonly name = "ConfigFault";
  readonly problems: readonly string[];
  /** False if there was no text to find problems in. */
  readonly readable: boolean;

  constructor(problems: readonly string[], readable = true) {
    super(problems.join("\n"));
    this.problems = problems;
    this.readable = readable;
  }
}

const FILE_BYTES_MAX = 1024 * 1024;
/** Counted with aliases followed: ten lines of aliases of aliases could otherwise stand for billions of values. */
const VALUES_MAX = 100_000;
const DEPTH_MAX = 32;

/** @throws ConfigFault with every problem of the file at `path` */
export async function readConfig(path: string, env: Env, files: Files): Promise<Config> {
  return (await readConfigFile(path, env, files)).config;
}

/** As readConfig, with what an operator should be told besides. @throws ConfigFault */
export async function readConfigFile(
  path: string,
  env: Env,
  files: Files,
  refused: readonly Path[] = [],
): Promise<ConfigFile> {
  const tree = await readTree(path, env, files);
  const stray = refused.filter((one) => has(tree.value, one));
  if (stray.length > 0) throw new ConfigFault(located(tree, stray.map(notHere)));
  const parsed = configSchema.safeParse(tree.value);
  if (!parsed.success || tree.problems.length > 0) {
    const unexpanded = new Set(tree.problems.map((problem) => JSON.stringify(problem.path)));
    const faults = explain(parsed.error?.issues ?? [], tree.value);
    // what could not be expanded is not also called a bad URL
    const others = faults.filter((problem) => !unexpanded.has(JSON.stringify(problem.path)));
    throw new ConfigFault(located(tree, [...tree.problems, ...others]));
  }
  const checked = checkConfig(parsed.data);
  if (checked.problems.length > 0) throw new ConfigFault(located(tree, checked.problems));
  return { config: checked.config, warnings: located(tree, checked.warnings) };
}

/** What a sidecar has from its control plane: in its own file, it would be believed to be in force. */
export const NOT_IN_SIDECARS: readonly Path[] = [
  ...["roles", "principals", "policies", "bundle", "shadow", "limits", "disclosure", "refusals", "demo", "store"].map(
    (key) => [key],
  ),
  ...["keys", "anonymous", "jwt"].map((key) => ["auth", key]),
];

function notHere(path: Path): Problem {
  return { path, message: `${path.join(".")}: a sidecar has this from its control plane; take it out` };
}

function has(value: unknown, [first, ...rest]: Path): boolean {
  if (typeof value !== "object" || value === null || first === undefined || !Object.hasOwn(value, first)) return false;
  return rest.length === 0 || has((value as { readonly [key: string | number]: unknown })[first], rest);
}

/**
 * One section alone, with its default: for commands whose environment need not have all of the gateway's secrets.
 * @throws ConfigFault
 */
export async function readSection<Name extends keyof Config>(
  name: Name,
  path: string,
  env: Env,
  files: Files,
): Promise<Config[Name]> {
  const tree = await readTree(path, env, files);
  const own = tree.problems.filter((problem) => problem.path.length === 0 || problem.path[0] === name);
  const value =
    typeof tree.value === "object" ? (tree.value as { readonly [key: string]: unknown } | null)?.[name] : undefined;
  const parsed = configSchema.partial().safeParse(value === undefined ? {} : { [name]: value });
  const faults = explain(parsed.error?.issues ?? [], tree.value);
  if (!parsed.success || own.length > 0) throw new ConfigFault(located(tree, [...own, ...faults]));
  return (parsed.data[name] ?? configSchema.parse({})[name]) as Config[Name];
}

type Tree = {
  readonly file: string;
  readonly env: Env;
  readonly files: Files;
  readonly document: Document;
  readonly counter: LineCounter;
  readonly lines: Map<string, number>;
  readonly problems: Problem[];
  values: number;
  value: unknown;
};

async function readTree(file: string, env: Env, files: Files): Promise<Tree> {
  const text = await readText(file, files);
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: true });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    throw new ConfigFault(faults.map((fault) => `${file}:${counter.linePos(fault.pos[0]).line}: ${fault.message}`));
  }
  const tree: Tree = { file, env, files, document, counter, lines: new Map(), problems: [], values: 0, value: {} };
  if (document.contents !== null) tree.value = (await valueOf(tree, document.contents, [])) ?? {};
  return tree;
}

async function readText(file: string, files: Files): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await files.readFile(file);
  } catch (fault) {
    throw new ConfigFault([`${file}: ${whyUnreadable(fault)}`], false);
  }
  if (bytes.length > FILE_BYTES_MAX) throw new ConfigFault([`${file}: larger than 1 MiB`]);
  return bytes.toString("utf8");
}

async function valueOf(tree: Tree, node: unknown, path: Path): Promise<unknown> {
  if (++tree.values > VALUES_MAX || path.length > DEPTH_MAX) {
    throw new ConfigFault([`${tree.file}:${lineOf(tree, path)}: too many values or too deep; are aliases nested?`]);
  }
  markLine(tree, node, path);
  if (isAlias(node)) return valueOf(tree, node.resolve(tree.document), path);
  if (isMap(node)) return objectOf(tree, node, path);
  if (isSeq(node)) {
    const items: unknown[] = [];
    for (const [index, item] of node.items.entries()) items.push(await valueOf(tree, item, [...path, index]));
    return items;
  }
  if (!isScalar(node)) return null;
  if (typeof node.value !== "string") return node.value;
  const { text, problems } = await expand(node.value, tree.file, tree.env, tree.files);
  for (const message of problems) tree.problems.push({ path, message });
  return text;
}

async function objectOf(tree: Tree, node: YAMLMap, path: Path): Promise<object> {
  const entries: [string, unknown][] = [];
  for (const pair of node.items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : "?";
    if (!isScalar(pair.key) || key === "__proto__") tree.problems.push({ path, message: "a key must be plain text" });
    // the key's own line: of a nested section, the value only begins on the next one
    markLine(tree, pair.key, [...path, key]);
    entries.push([key, await valueOf(tree, pair.value, [...path, key])]);
  }
  return Object.fromEntries(entries);
}

function markLine(tree: Tree, node: unknown, path: Path): void {
  const id = JSON.stringify(path);
  const start = isAlias(node) || isMap(node) || isSeq(node) || isScalar(node) ? node.range?.[0] : undefined;
  if (start !== undefined && !tree.lines.has(id)) tree.lines.set(id, tree.counter.linePos(start).line);
}

/** What is missing is reported where its parent stands. */
function lineOf(tree: Tree, path: Path): number {
  for (let length = path.length; length >= 0; length--) {
    const line = tree.lines.get(JSON.stringify(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return 1;
}

function located(tree: Tree, problems: readonly Problem[]): string[] {
  return problems
    .map(({ path, message }) => ({ line: lineOf(tree, path), message }))
    .toSorted((one, other) => one.line - other.line)
    .map(({ line, message }) => `${tree.file}:${line}: ${message}`);
}
