/** The promise: secrets come into the configuration by reference, only from the file, and are never shown again. */
import { stringify } from "yaml";
import { describe, expect, test } from "vitest";
import { readSection } from "../src/config-file.ts";
import { maskedConfig } from "../src/config-mask.ts";
import { disk, problems, read } from "./config-text.ts";

type Env = { readonly [name: string]: string | undefined };

const hash = `sha256:${"a".repeat(64)}`;

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
          env: {GITHUB_TOKEN: s3cret-d, HOME: /srv/x}
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
