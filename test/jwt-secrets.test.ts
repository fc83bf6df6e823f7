/** A caller's token ends at the gateway: no server hears it, no file keeps it, no log line shows it, no answer repeats it. */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DOORS } from "./support/ask.ts";
import type { TestGateway } from "./support/gateway.ts";
import { fixtureServer, until } from "./support/gateway.ts";
import { jwtEntry, startIssuer } from "./support/issuer.ts";
import { key as keyFor, portcullis, temporaryFolder } from "./support/portcullis.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

test("tokens, good and bad, appear nowhere but in the request", async () => {
  const idp = await startIssuer();
  const fixture = await startFixture({ era: "both" });
  const folder = temporaryFolder();
  const own = keyFor("k1", "alice");
  const process = await portcullis({
    folder,
    config: {
      roles: { analyst: ["demo:use"] },
      principals: [{ id: "alice", roles: ["analyst"] }],
      auth: { keys: [own.entry], jwt: [jwtEntry(idp, { claims: ["department"] })] },
      servers: [fixtureServer(fixture)],
    },
    tools: { key: own.text, ids: ["fixture__echo"].map((name) => name) },
  });
  // only what the doors need of it
  const gateway = { url: process.url, admin: adminOf(process.output()) } as TestGateway;
  const marked = { department: "red", email: "canary@acme.example", jti: "canary-0123456789" };
  const sound = await idp.sign({ ...marked, roles: ["analyst"] });
  const tokens = [
    sound,
    await idp.sign({ ...marked, exp: 1 }),
    await idp.sign({ ...marked, iss: "https://unknown.example" }),
    await idp.sign({ ...marked, aud: "https://other.example" }),
    await idp.sign(marked, { kid: "canary-kid" }),
    `${sound.slice(0, -9)}AAAAAAAAA`,
    await idp.sign({ ...marked, more: "x".repeat(9000) }),
  ];
  let answers = "";
  for (const ask of Object.values(DOORS))
    for (const key of tokens) {
      const told = await ask(gateway, { key, tool: "echo", arguments: { text: "hello" } });
      answers += JSON.stringify([told, [...told.headers]]);
    }
  expect(fixture.state.arrivals.length).toBeGreaterThanOrEqual(Object.keys(DOORS).length);
  const heard = JSON.stringify(fixture.state.arrivals);
  await until(async () => (await allOf(join(folder, "data"))).includes("carol"), "the records are written");
  expect(await process.stop()).toBe(0);
  const kept = await allOf(join(folder, "data"));
  expect(kept).toContain("expired token");
  await rm(folder, { recursive: true, force: true });
  await fixture.close();
  await idp.close();

  const parts = tokens.flatMap((token) => token.split("."));
  const traces = ["canary", ...parts.map((part) => part.slice(0, 200)), ...parts.map((part) => part.slice(-40))];
  const where = { heard, kept, said: process.output(), answers };
  for (const [place, text] of Object.entries(where)) {
    const found = traces.filter((trace) => text.includes(trace));
    expect([place, found]).toEqual([place, []]);
    expect(text.includes(Buffer.from(sound).toString("base64url").slice(0, 60))).toBe(false);
  }
}, 120_000);

function adminOf(output: string): string {
  return /Admin +https?:\/\/(\S+)\/trpc/.exec(output)?.[1] ?? "";
}

async function allOf(folder: string): Promise<string> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(files.map((file) => readFile(file, "latin1").catch(() => "")))).join("\n");
}
