/** The promise: a wrong configuration file is told with file, line and the probable intent; a right one is complete. */
import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { parse, stringify } from "yaml";
import { describe, expect, test } from "vitest";
import { generated } from "../schema/generate.ts";
import { ConfigFault, readConfig, readConfigFile, readSection } from "../src/config-file.ts";
import { maskedConfig } from "../src/config-mask.ts";
import { nearest } from "../src/nearest.ts";

type Env = { readonly [name: string]: string | undefined };

const root = fileURLToPath(new URL("..", import.meta.url));
const hash = `sha256:${"a".repeat(64)}`;
const SERVER = "servers:\n  - name: files\n    instances:\n      - stdio: {command: node}\n";

/** Files by absolute path; the configuration is /etc/p.yaml. */
function disk(files: { readonly [path: string]: string | Buffer }) {
  const read = async (path: unknown): Promise<Buffer> => {
    const found = files[String(path)];
    if (found === undefined) throw Object.assign(new Error("gone"), { code: "ENOENT" });
    return Buffer.from(found);
  };
  return { readFile: read as typeof readFile };
}

const read = (text: string, env: Env = {}, files: { readonly [path: string]: string } = {}) =>
  readConfigFile("/etc/p.yaml", env, disk({ "/etc/p.yaml": text, ...files }));

async function problems(
  text: string,
  env: Env = {},
  files: { readonly [path: string]: string } = {},
): Promise<readonly string[]> {
  const fault: unknown = await read(text, env, files).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(fault instanceof ConfigFault)) throw new Error("the file was accepted", { cause: fault });
  return fault.problems;
}

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
      '/etc/p.yaml:4: unknown key "grpc" in servers[0].instances[0]; known here: stdio, http',
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

  test("a role without permissions is legal and warned of", async () => {
    const { warnings } = await read("roles: {analyst: [a:b]}\nprincipals:\n  - {id: a, roles: [analist]}\n");
    expect(warnings).toEqual(["/etc/p.yaml:3: the role analist has no permissions; did you mean analyst?"]);
  });
});

describe("${…}", () => {
  const header = async (value: string, env: Env = {}, files: { readonly [path: string]: string } = {}) => {
    const text = `servers:\n  - name: a\n    instances:\n      - http: {url: "https://a/", headers: {x: ${JSON.stringify(value)}}}\n`;
    const [instance] = (await read(text, env, files)).config.servers[0]?.instances ?? [];
    return instance !== undefined && "http" in instance ? instance.http.headers["x"] : undefined;
  };

  test("stands for the environment, a default, or a file's text without its last line break", async () => {
    expect(await header("Bearer ${TOKEN}!", { TOKEN: "t" })).toBe("Bearer t!");
    expect(await header("${NONE:-fallback}${EMPTY:-x}", { EMPTY: "" })).toBe("fallbackx");
    expect(await header("${file:/run/secrets/x}", {}, { "/run/secrets/x": "s3\n" })).toBe("s3");
    expect(await header("${file:secrets/x}", {}, { "/etc/secrets/x": "beside" })).toBe("beside");
  });

  test("is written $${…}, and what it stood for is not expanded again", async () => {
    expect(await header("$${TOKEN} costs 5$", {})).toBe("${TOKEN} costs 5$");
    expect(await header("${A}", { A: "${B}", B: "deep" })).toBe("${B}");
  });

  test("cannot smuggle a second header in", async () => {
    await expect(header("${A}", { A: "x\r\nevil: 1" })).rejects.toThrow("expected a header value on one line");
  });

  test("is reported by name and line where it stands for nothing, all of them at once", async () => {
    const text = `data: "\${DATA}"
redis: "\${REDIS_URL}"
policies: "\${file:/run/gone}"
drain: "\${file:/run/large}"
hosts: ["\${}", "\${a b}", "\${open"]
`;
    expect(await problems(text, {}, { "/run/large": "x".repeat(70_000) })).toEqual([
      "/etc/p.yaml:1: the environment variable DATA is not set",
      "/etc/p.yaml:2: the environment variable REDIS_URL is not set",
      "/etc/p.yaml:3: cannot read /run/gone: no such file",
      "/etc/p.yaml:4: /run/large is larger than 64 KiB",
      "/etc/p.yaml:5: ${…} takes a variable's name, or file: and a path",
      "/etc/p.yaml:5: ${…} takes a variable's name, or file: and a path",
      "/etc/p.yaml:5: a ${ is not closed; write $${ for the characters themselves",
    ]);
  });

  test("is not expanded in keys, and an expanded value is never quoted in a problem", async () => {
    expect(await problems('"${LISTEN}": a:1\n', { LISTEN: "listen" })).toEqual([
      expect.stringContaining('unknown key "${LISTEN}"'),
    ]);
    const secret = "hunter2-hunter2";
    const text = 'listen: "${S}"\nrefusals: "${S}"\nredis: "${S}"\nauth: {anonymous: "${S}"}\nservers: "${S}"\n';
    expect((await problems(text, { S: secret })).join("\n")).not.toContain(secret);
  });

  test("only matters where it is needed: one section is read without the others' secrets", async () => {
    const text = 'data: "${HERE}"\nredis: "${SECRET}"\n';
    const files = disk({ "/etc/p.yaml": text });
    expect(await readSection("data", "/etc/p.yaml", { HERE: "/var/p" }, files)).toBe("/var/p");
    expect(await readSection("policies", "/etc/p.yaml", {}, files)).toBe("./policies");
    await expect(readSection("data", "/etc/p.yaml", {}, files)).rejects.toThrow(
      "/etc/p.yaml:1: the environment variable HERE is not set",
    );
  });
});

describe("the masked configuration", () => {
  const text = `redis: rediss://user:pa55word@redis.internal/0
servers:
  - name: a
    instances:
      - stdio:
          command: run
          args: [--token, s3cret-a, --key=s3cret-b, "postgres://u:s3cret-c@db/x", --verbose]
          env: {GITHUB_TOKEN: s3cret-d, HOME: /home/x}
      - http: {url: "https://u:s3cret-e@a.internal/mcp?key=s3cret-f", headers: {Authorization: s3cret-g}}
    timeout: 90s
principals: [{id: a}]
auth: {keys: [{id: k, principal: a, hash: "${hash}"}]}
audit: {export: [{otlp: "https://c.internal/v1", headers: {x-key: s3cret-h}}]}
`;

  test("shows no secret, wherever it stands", async () => {
    const { config } = await read(text);
    for (const commands of ["shown", "hidden"] as const) {
      const shown = JSON.stringify(maskedConfig(config, commands));
      expect(shown).not.toMatch(/s3cret|pa55word|aaaa/);
      expect(shown).toContain("redis.internal");
    }
  });

  test("shows commands to who reads the file, and to nobody who asks an API", async () => {
    const { config } = await read(text);
    expect(JSON.stringify(maskedConfig(config, "shown"))).toContain('"--verbose"');
    expect(JSON.stringify(maskedConfig(config))).not.toMatch(/--verbose|GITHUB_TOKEN|"run"/);
  });

  test("is a configuration file again", async () => {
    const { config } = await read("drain: 1500ms\nlimits: [{name: a, key: [tool], limit: 5, window: 2h}]\n");
    const again = await read(stringify(maskedConfig(config, "shown")));
    expect(again.config).toEqual(config);
  });
});

describe("the shipped files", () => {
  test("the demo configuration is in order", async () => {
    const { warnings } = await readConfigFile(join(root, "portcullis.yaml"), {}, { readFile });
    expect(warnings).toEqual([]);
  });

  test("the JSON Schema is generated: surface changed? meant? then run `npm run generate`", async () => {
    for (const [file, expected] of Object.entries(generated())) {
      expect(await readFile(join(root, "schema", file), "utf8"), `schema/${file}: run npm run generate`).toBe(expected);
    }
  });

  test("the JSON Schema accepts the demo, a reference where a URL is expected, and no unknown key", async () => {
    const schema = JSON.parse(generated()["config.schema.json"] ?? "") as object;
    const ajv = new Ajv2020({ strict: false });
    formats.default(ajv);
    const validate = ajv.compile(schema);
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
