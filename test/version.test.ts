/** The product has one version, that of package.json, and everybody hears that one. */
import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { initialize, modern, send } from "./mcp-door-client.ts";
import { discovered, fixtureServer, startGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const root = resolve(import.meta.dirname, "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };

test("no source repeats it", () => {
  const repeats = globSync("src/**/*.ts", { cwd: root }).filter((file) =>
    readFileSync(join(root, file), "utf8").includes(`"${version}"`),
  );
  expect(repeats).toEqual([]);
});

test("operators, callers and servers are told it", async () => {
  expect((await portcullis(["--version"])).stdout).toBe(`${version}\n`);
  const fixture = await startFixture({ era: "modern" });
  const gateway = await startGateway({ servers: [fixtureServer(fixture)] });
  await discovered(gateway, "fixture");
  const { answer } = await initialize(gateway);
  expect(answer.body.result?.["serverInfo"]).toEqual({ name: "portcullis", version });
  await send(gateway, modern("tools/call", { name: "fixture__echo" }));
  expect(fixture.state.arrivals[0]?.meta["io.modelcontextprotocol/clientInfo"]).toEqual({
    name: "portcullis",
    version,
  });
  await gateway.close();
  await fixture.close();
});
