/** The promise: a wrong configuration file is told with file, line and the probable intent; a right one is complete. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { describe, expect, test } from "vitest";
import { generated } from "../schema/generate.ts";
import { readConfig, readConfigFile } from "../src/config-file.ts";
import { nearest } from "../src/nearest.ts";
import { disk, problems, read } from "./config-text.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const hash = `sha256:${"a".repeat(64)}`;
const SERVER = "servers:\n  - name: files\n    instances:\n      - stdio: {command: node}\n";

describe("a wrong file", () => {
  test("names the nearest key for each unknown one, on its line, at every depth", async () => {
    const text = `lisen: a:1
servers:
  - name: files
    instances:
      - stdio: {command: node, arg: []}
      - http:
          url: https://a.example/
          header: {}
    tools:
      write_file:
        timeut: 5s
auth:
  key: []
`;
    expect(await problems(text)).toEqual([
      '/etc/p.yaml:1: unknown key "lisen"; did you mean "listen"?',
      '/etc/p.yaml:5: unknown key "arg" in servers[0].instances[0].stdio; did you mean "args"?',
      '/etc/p.yaml:8: unknown key "header" in servers[0].instances[1].http; did you mean "headers"?',
      '/etc/p.yaml:11: unknown key "timeut" in servers[0].tools.write_file; did you mean "timeout"?',
      '/etc/p.yaml:13: unknown key "key" in auth; did you mean "keys"?',
    ]);
  });

  test("lists the known keys where none is near", async () => {
    expect(await problems("servers:\n  - name: a\n    instances:\n      - grpc: {}\n")).toEqual([
      '/etc/p.yaml:4: unknown key "grpc" in servers[0].instances[0]; known here: stdio, weight, name, http',
    ]);
  });

  test.each([
    ["drain: 10 s", "/etc/p.yaml:1: drain: expected a duration such as 250ms, 5s, 2m, 1h or 30d"],
    ["listen: here", "/etc/p.yaml:1: listen: expected an address such as 127.0.0.1:8484"],
    ["demo: maybe", "/etc/p.yaml:1: demo: expected boolean, received string"],
    ["\nrefusals: no", '/etc/p.yaml:2: refusals: expected one of "result"|"error"'],
    ["limits:\n  - name: a\n    key: [principal]\n    window: 5s", "/etc/p.yaml:2: limits[0].limit is missing: number"],
    ["auth:\n  anonymous: on", '/etc/p.yaml:2: auth.anonymous: expected "off", or expected object, received string'],
    ["auth:\n  anonymous: {principal: a, paths: []}", /^\/etc\/p\.yaml:2: auth\.anonymous\.paths: too small/],
    ["audit:\n  ack: redis", "/etc/p.yaml:2: ack: redis needs to know which: set redis to a redis:// URL"],
    ["audit: {writer: Pod_1}", /^\/etc\/p\.yaml:1: audit\.writer: expected a writer's name/],
    ["- a", "/etc/p.yaml:1: the file: expected object, received array"],
    ["just text", "/etc/p.yaml:1: the file: expected object, received string"],
    [
      `${SERVER}        http: {url: "https://a/"}\n`,
      '/etc/p.yaml:5: "http" does not go with what stands beside it in servers[0].instances[0]',
    ],
  ])("%j is refused on its line", async (text, problem) => {
    const found = await problems(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toEqual(typeof problem === "string" ? problem : expect.stringMatching(problem));
  });

  test.each([
    ["routes:\n  b: {}", 5, "there is no server b"],
    ["routes:\n  a:\n    default: 2.0.0", 6, "server a has no version 2.0.0"],
    ["routes:\n  a:\n    canary:\n      percent: 5\n      version: ^1.0", 8, "server a has no version ^1.0"],
    [
      "routes:\n  a:\n    pins:\n      - {role: x, version: 1.0.0}\n      - {role: y, version: 1}",
      8,
      "expected string, received number",
    ],
    [
      "routes:\n  a:\n    pins:\n      - {version: 1.0.0}",
      7,
      "expected a principal, a role or a tenant besides the version",
    ],
    ["routes:\n  a:\n    canary: {version: 1.0.0, percent: 101}", 6, "too big: expected number to be <=100"],
    [
      "routes:\n  a:\n    weights: {}",
      6,
      'unknown key "weights" in routes.a; known here: default, canary, canaries, pins',
    ],
  ])("a route that leads nowhere is refused on its line: %j", async (text, line, message) => {
    const server = "servers:\n  - name: a\n    instances: [{stdio: {command: x}}]\n";
    const found = await problems(`${server}${text}`);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(new RegExp(`^/etc/p\\.yaml:${line}: `));
    expect(found[0]?.endsWith(message), found[0]).toBe(true);
  });

  test("tells YAML's own faults with their line, and refuses a key that stands twice", async () => {
    expect(await problems("listen: a:1\n\tdemo: true\n")).toEqual([expect.stringMatching(/^\/etc\/p\.yaml:\d+: /)]);
    expect(await problems("demo: true\ndata: x\ndemo: false\n")).toEqual(["/etc/p.yaml:3: Map keys must be unique"]);
    expect(await problems("a: 1\n---\nb: 1\n")).toEqual([expect.stringContaining("multiple documents")]);
  });

  test("is refused when aliases of aliases stand for too many values", async () => {
    const levels = Array.from(
      { length: 12 },
      (_, at) =>
        `l${at}: &l${at} [${Array(10)
          .fill(at === 0 ? "x" : `*l${at - 1}`)
          .join(", ")}]`,
    );
    expect(await problems(levels.join("\n"))).toEqual([expect.stringMatching(/^\/etc\/p\.yaml:\d+: too many values/)]);
    expect(await problems("a: &a [*a]")).toEqual([expect.stringContaining("too many values or too deep")]);
  });

  test("is refused when it is larger than 1 MiB, missing, or a directory", async () => {
    expect(await problems(`# ${"x".repeat(1024 * 1024)}`)).toEqual(["/etc/p.yaml: larger than 1 MiB"]);
    await expect(readConfig("/nowhere.yaml", {}, disk({}))).rejects.toThrow("/nowhere.yaml: no such file");
    await expect(readConfig(root, {}, { readFile })).rejects.toThrow("it is a directory");
  });

  test("has no key that would reach an object's prototype", async () => {
    expect(await problems("roles:\n  __proto__: [a:b]\n")).toEqual(["/etc/p.yaml:1: a key must be plain text"]);
  });
});

describe("what the sections say of each other", () => {
  const version = (text: string) =>
    `  - name: files\n    version: "${text}"\n    instances: [{stdio: {command: node}}]\n`;

  test("a version is defined once", async () => {
    expect(await problems(`servers:\n${version("1.0.0")}${version("2.0.0")}${version("1.0.0")}`)).toEqual([
      "/etc/p.yaml:9: server files@1.0.0 is already defined",
    ]);
  });

  test("a server has one default version: the marked, else the only, else the highest", async () => {
    const defaults = async (text: string) =>
      (await read(text)).config.servers.filter((one) => one.default).map((one) => one.version);
    expect(await defaults(`servers:\n${version("beta")}`)).toEqual(["beta"]);
    expect(await defaults(`servers:\n${version("1.9.0")}${version("1.10")}${version("v1.2.0")}`)).toEqual(["1.10"]);
    expect(await defaults(`servers:\n${version("1.9.0")}    default: true\n${version("1.10")}`)).toEqual(["1.9.0"]);
  });

  test("versions without an order need a mark, and two marks are one too many", async () => {
    const marked = "    default: true\n";
    expect(await problems(`servers:\n${version("1.0")}${version("beta")}`)).toEqual([
      "/etc/p.yaml:2: server files has several versions that do not order; mark one `default: true`",
    ]);
    expect(await problems(`servers:\n${version("1.0")}${version("1.0.0")}`)).toHaveLength(1);
    expect(await problems(`servers:\n${version("1.0")}${marked}${version("2.0")}${marked}`)).toEqual([
      "/etc/p.yaml:9: server files already has a default version, 1.0",
    ]);
  });

  test("keys and anonymous stand for principals that exist", async () => {
    const text = `principals: [{id: alice}]
auth:
  keys:
    - {id: k1, principal: alise, hash: "${hash}"}
    - {id: k2, principal: bob, agent: planner, hash: "${hash}"}
  anonymous: {principal: guest, paths: [/mcp]}
`;
    expect(await problems(text)).toEqual([
      "/etc/p.yaml:4: no principal alise; did you mean alice?",
      "/etc/p.yaml:5: no principal bob",
      "/etc/p.yaml:6: no principal guest",
    ]);
  });

  test("ids and names are unique, and the two listeners differ", async () => {
    const text = `listen: 127.0.0.1:1
admin: 127.0.0.1:1
principals: [{id: a}, {id: a}]
limits:
  - {name: x, key: [principal], limit: 1, window: 1s}
  - {name: x, key: [tenant], limit: 1, window: 1s}
auth:
  keys:
    - {id: k, principal: a, hash: "${hash}"}
    - {id: k, principal: a, hash: "${hash}"}
`;
    expect(await problems(text)).toEqual([
      "/etc/p.yaml:2: admin must be another address than listen",
      "/etc/p.yaml:3: principals already has the id a",
      "/etc/p.yaml:6: limits already has the name x",
      "/etc/p.yaml:10: auth.keys already has the id k",
    ]);
  });

  test("a limit has what its kind needs and nothing else, and no cost is above the tool's own limit", async () => {
    const text = `servers:
  - name: a
    instances: [{http: {url: "https://a.example/mcp"}}]
    tools:
      dear: {rateLimit: 3, cost: 4}
      free: {cost: 4}
limits:
  - {name: s, key: [principal], limit: 1}
  - {name: c, key: [principal], limit: 1, kind: concurrent}
  - {name: w, key: [principal], limit: 1, kind: concurrent, window: 1s}
  - {name: f, key: [principal], limit: 9, kind: fixed, window: 1d, burst: 3}
  - {name: b, key: [principal], limit: 1, kind: bucket, window: 1s, burst: 8, localShare: 0.25}
  - {name: l, key: [principal], limit: 3, window: 1s, localShare: 0.25}
`;
    expect(await problems(text)).toEqual([
      "/etc/p.yaml:5: a cost above rateLimit could never pass",
      "/etc/p.yaml:8: window is missing: a sliding limit counts in one",
      "/etc/p.yaml:10: a concurrent limit has no window",
      "/etc/p.yaml:11: only a bucket has a burst",
      "/etc/p.yaml:13: localShare leaves not one call",
    ]);
  });

  test("a role without permissions is legal and warned of", async () => {
    const { warnings } = await read("roles: {analyst: [a:b]}\nprincipals:\n  - {id: a, roles: [analist]}\n");
    expect(warnings).toEqual(["/etc/p.yaml:3: the role analist has no permissions; did you mean analyst?"]);
  });
});

describe("the shipped files", () => {
  test("the demo configuration is in order", async () => {
    const { warnings } = await readConfigFile(join(root, "portcullis.yaml"), {}, { readFile });
    expect(warnings).toEqual([]);
  });

  test("the JSON Schema accepts the demo, a reference where a URL is expected, and no unknown key", async () => {
    const schema = JSON.parse(generated()["schema/config.schema.json"] ?? "") as object;
    const validate = new Ajv2020({ strict: false, formats: { uri: (text: string) => URL.canParse(text) } }).compile(
      schema,
    );
    expect(validate(parse(await readFile(join(root, "portcullis.yaml"), "utf8")))).toBe(true);
    const server = (url: string) => ({ servers: [{ name: "a", instances: [{ http: { url } }] }] });
    expect(validate(server("${FILES_URL}/mcp"))).toBe(true);
    expect(validate(server("not a url"))).toBe(false);
    expect(validate({ lisen: "a:1" })).toBe(false);
  });
});

describe("the nearest word", () => {
  test.each([
    ["lisen", "listen"],
    ["SERVRES", "servers"],
    ["sevrers", "servers"],
    ["redsi", "redis"],
    ["banana", undefined],
    ["", undefined],
  ])("of %j is %j", (word, expected) => {
    expect(nearest(word, ["listen", "servers", "redis", "principals"])).toBe(expected);
  });
});
