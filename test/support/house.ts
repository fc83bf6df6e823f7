/**
 * The rules of the house as tables, and its measurements: who may import whom, which word and which package live
 * where, how long things are. Read from the syntax tree, so that a word in a comment or a name is no offence.
 * `npm run house -- --json` prints the measurements as one line of JSON.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseSync } from "oxc-parser";

/** From the ground up. A file or folder of src that matches none has no floor, and nothing may import it. */
export const FLOORS: readonly (readonly RegExp[])[] = [
  [
    /^(model|operations|refusal|ports|json|nearest|deadline|redis|redis-url|lease|secrets|ed25519|trace|histogram|request-meter|threads|version|version-range|config[\w-]*)\.ts$/,
  ],
  [/^(identity|registry|policy|limits|upstream|audit|snapshot)\//],
  [/^gateway\.ts$/],
  [/^(call|change(-[a-z]+)?|view(-[a-z]+)?)\.ts$/],
  [/^doors\//, /^cli\//],
  [
    /^(main|serve|start|operate|enforced|rooms|open-doors|inforce|health|sidecar|sidecar-start|adopter|peers|metrics|metrics-export)\.ts$/,
  ],
];
/** A stage wraps the verb around it: these may know the type, and nothing more, of what stands above them. */
const ROOMS_FLOOR = 1;

/** Words that live in one place. A line of code that needs one has found the wrong room. */
export const WORDS: readonly { readonly name: string; readonly word: RegExp; readonly home: RegExp }[] = [
  { name: "process", word: /\bprocess\./, home: /^main\.ts$/ },
  { name: "the clock and chance", word: /\bDate\.now\b|\bMath\.random\b|\bperformance\.now\b/, home: /^ports\.ts$/ },
  { name: "fetch", word: /(?<![.\w])fetch\(/, home: /^upstream\/dial\.ts$/ },
  { name: "JSON.parse", word: /\bJSON\.parse\b/, home: /^json\.ts$|^(policy|audit|snapshot)\// },
  { name: "WebAssembly", word: /\bWebAssembly\b/, home: /^policy\// },
  { name: "console", word: /\bconsole\./, home: /^$/ },
  { name: "an HTTP server", word: /\bcreateServer\b|\bcreateSecureServer\b/, home: /^doors\/http\.ts$/ },
  {
    name: "a refusal's HTTP status",
    word: /\bstatus(Code)?: [45]\d\d\b|\bwriteHead\([45]\d\d\b/,
    home: /^refusal\.ts$|^doors\//,
  },
];

/** Each npm package has one home; to change the library is to change that room. */
export const HOMES: readonly { readonly name: RegExp; readonly home: RegExp }[] = [
  { name: /^undici$/, home: /^upstream\/dial\.ts$/ },
  { name: /^ipaddr\.js$/, home: /^upstream\// },
  { name: /^@modelcontextprotocol\/sdk$/, home: /^upstream\// },
  { name: /^ioredis$/, home: /^redis\.ts$/ },
  { name: /^rate-limiter-flexible$/, home: /^identity\// },
  { name: /^graphql(-yoga)?$|^@graphql-yoga\/render-graphiql$/, home: /^doors\/graphql/ },
  { name: /^@grpc\/(grpc-js|proto-loader)$/, home: /^doors\/grpc\.ts$/ },
  { name: /^@trpc\/server$/, home: /^doors\/trpc/ },
  { name: /^@trpc\/client$/, home: /^cli\/|^snapshot\/follow\.ts$/ },
  { name: /^eventsource$/, home: /^snapshot\/follow\.ts$|^cli\/client\.ts$/ },
  { name: /^@open-policy-agent\/opa-wasm$/, home: /^policy\/instance\.ts$/ },
  { name: /^re2js$/, home: /^policy\/builtins\/regex\.ts$/ },
  { name: /^@opentelemetry\//, home: /^audit\/export[\w-]*\.ts$|^metrics-export\.ts$/ },
  { name: /^zod$/, home: /^config[\w-]*\.ts$|^doors\/trpc/ },
  { name: /^ajv$/, home: /^registry\// },
  { name: /^jose$/, home: /^identity\/|^policy\/signed-bundle\.ts$/ },
  { name: /^semver$/, home: /^version-range\.ts$/ },
  { name: /^minisearch$/, home: /^registry\/search\.ts$/ },
  { name: /^yaml$/, home: /^config-file\.ts$|^cli\// },
  { name: /^pino$/, home: /^main\.ts$/ },
  { name: /^oxc-parser$/, home: /^$/ },
];

type Import = { readonly specifier: string; readonly typeOnly: boolean };
type Function = { readonly name: string; readonly file: string; readonly lines: number; readonly parameters: number };
export type SourceFile = {
  /** Relative to src, with forward slashes. */
  readonly path: string;
  readonly lines: number;
  /** The text with its comments blanked out. */
  readonly code: string;
  readonly opensWithComment: boolean;
  readonly imports: readonly Import[];
  readonly functions: readonly Function[];
  readonly anys: number;
  readonly exports: readonly { readonly name: string; readonly documented: boolean }[];
};

/** Every TypeScript file under `src` of the given root, read and parsed. */
export function readHouse(root: string): readonly SourceFile[] {
  return globSync("src/**/*.ts", { cwd: root })
    .toSorted()
    .map((path) => readSource(path.replaceAll("\\", "/").slice("src/".length), readFileSync(join(root, path), "utf8")));
}

export function readSource(path: string, text: string): SourceFile {
  const { program, comments, module } = parseSync(path, text);
  let code = text;
  for (const { start, end } of comments)
    code = code.slice(0, start) + text.slice(start, end).replaceAll(/\S/g, " ") + code.slice(end);
  const found = walk(program, path, text);
  const statics = module.staticImports.map(({ moduleRequest, entries }) => ({
    specifier: moduleRequest.value,
    typeOnly: entries.length > 0 && entries.every(({ isType }) => isType),
  }));
  // a worker, or a file run as a child, is named by its URL
  const urls = [...code.matchAll(/new URL\(\s*"(?:\.\/)?([\w./-]+\.ts)"|\bimport\(\s*"([^"]+)"/g)].map(
    ([, url, specifier = `./${url}`]) => ({ specifier, typeOnly: false }),
  );
  const exported = program.body.filter(({ type }) => type === "ExportNamedDeclaration");
  const ends = new Set(
    comments.filter(({ type, value }) => type === "Block" && value.startsWith("*")).map(({ end }) => lineOf(text, end)),
  );
  return {
    path,
    lines: lineOf(text, text.length) - (text.endsWith("\n") ? 1 : 0),
    code,
    opensWithComment: /^(#!.*\n)?\/\*\*/.test(text),
    imports: [...statics, ...urls],
    functions: found.functions,
    anys: found.anys,
    exports: exported.map(({ start }) => ({
      name: /\b(?:function\*?|const|type|class|let)\s+(\w+)/.exec(text.slice(start, start + 120))?.[1] ?? "(list)",
      documented: ends.has(lineOf(text, start) - 1),
    })),
  };
}

/** 0 for the ground, -1 where a file has no floor. */
export function floorOf(path: string): number {
  return FLOORS.findIndex((floor) => floor.some((pattern) => pattern.test(path)));
}

/** What is wrong with the file's imports, one sentence each. */
export function importFaults({ path, imports }: SourceFile): readonly string[] {
  return imports.flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith("node:")) return [];
    if (!specifier.startsWith(".")) return homeFault(path, specifier);
    const to = normalize(join(dirname(path), specifier)).replaceAll("\\", "/");
    if (!to.endsWith(".ts")) return [];
    return [...floorFault(path, to, typeOnly)];
  });
}

export function wordFaults({ path, code }: SourceFile): readonly string[] {
  return WORDS.filter(({ word, home }) => !home.test(path) && word.test(code)).map(
    ({ name }) => `${path} speaks of ${name}`,
  );
}

/** Files that no other file imports; `main.ts` is where everything starts. */
export function deadFiles(files: readonly SourceFile[]): readonly string[] {
  const imported = new Set(
    files.flatMap(({ path, imports }) =>
      imports.map(({ specifier }) => normalize(join(dirname(path), specifier)).replaceAll("\\", "/")),
    ),
  );
  return files
    .map(({ path }) => path)
    .filter((path) => path !== "main.ts" && !path.endsWith(".d.ts") && !imported.has(path));
}

export type Measurements = ReturnType<typeof measure>;
export function measure(root: string) {
  const files = readHouse(root);
  const functions = files.flatMap((file) => file.functions).toSorted((a, b) => b.lines - a.lines);
  const exported = files.flatMap((file) => file.exports);
  const documented = exported.filter((one) => one.documented).length;
  const sourceLines = files.reduce((sum, { lines }) => sum + lines, 0);
  const tests = globSync("test/**/*.ts", { cwd: root, exclude: (path) => /node_modules|\.venv/.test(path) });
  const testLines = tests.reduce((sum, path) => sum + lineOf(readFileSync(join(root, path), "utf8"), Infinity) - 1, 0);
  return {
    files: files.length,
    sourceLines,
    testLines,
    testToSource: round(testLines / Math.max(1, sourceLines)),
    longestFile:
      files.map(({ path, lines }) => ({ file: path, lines })).toSorted((a, b) => b.lines - a.lines)[0] ?? null,
    longestFunction: functions[0] ?? null,
    functions: functions.length,
    functionsOver40Lines: functions.filter(({ lines }) => lines > 40).length,
    filesOver200Lines: files.filter(({ lines }) => lines > 200).length,
    parametersMost: Math.max(0, ...functions.map(({ parameters }) => parameters)),
    anys: files.reduce((sum, { anys }) => sum + anys, 0),
    exports: exported.length,
    documentedExports: documented,
    documentedShare: round(documented / Math.max(1, exported.length)),
  };
}

function homeFault(path: string, specifier: string): readonly string[] {
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  const row = HOMES.find((home) => home.name.test(name));
  if (row === undefined) return [`${path} imports ${name}, which has no home: give it one in test/support/house.ts`];
  return row.home.test(path) ? [] : [`${path} imports ${name}, whose home is ${row.home.source}`];
}

function floorFault(from: string, to: string, typeOnly: boolean): readonly string[] {
  const [lower, upper] = [floorOf(to), floorOf(from)];
  if (lower === -1) return [`${from} imports ${to}, which has no floor`];
  if (lower > upper) return [`${from} imports ${to}: imports go down`];
  const neighbours = lower === upper && upper >= ROOMS_FLOOR && roomOf(from) !== roomOf(to) && from.includes("/");
  return neighbours && !typeOnly ? [`${from} imports ${to}: a room knows its neighbour's types, never its code`] : [];
}

function roomOf(path: string): string {
  return path.split("/")[0] ?? path;
}

type Node = { readonly type: string; readonly start: number; readonly end: number };

function walk(
  program: object,
  file: string,
  text: string,
): { readonly functions: readonly Function[]; readonly anys: number } {
  const functions: Function[] = [];
  let anys = 0;
  const visit = (node: unknown, name: string): void => {
    if (Array.isArray(node)) return node.forEach((item) => visit(item, name));
    if (!isNode(node)) return;
    const children = Object.entries(node);
    const own = nameOf(Object.fromEntries(children)) ?? name;
    if (node.type === "TSAnyKeyword") anys++;
    if (FUNCTIONS.has(node.type)) {
      const parameters = children.find(([key]) => key === "params")?.[1];
      const lines = lineOf(text, node.end) - lineOf(text, node.start) + 1;
      functions.push({ name: own, file, lines, parameters: Array.isArray(parameters) ? parameters.length : 0 });
    }
    for (const [, child] of children) visit(child, own);
  };
  visit(program, "(module)");
  return { functions, anys };
}

const FUNCTIONS = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value && "end" in value;
}

/** The name that a declaration, a property or a variable gives to the function within. */
function nameOf(node: { readonly [key: string]: unknown }): string | null {
  const holder =
    node["id"] ?? (node["type"] === "Property" || node["type"] === "MethodDefinition" ? node["key"] : null);
  if (typeof holder !== "object" || holder === null || !("name" in holder)) return null;
  return typeof holder.name === "string" ? holder.name : null;
}

function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  return line;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

if (import.meta.main) {
  const measured = measure(join(import.meta.dirname, "..", ".."));
  if (!process.argv.includes("--json")) process.stderr.write(`${JSON.stringify(measured, null, 2)}\n`);
  else process.stdout.write(`${JSON.stringify(measured)}\n`);
}
