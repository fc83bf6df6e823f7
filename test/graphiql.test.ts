/** Whoever opens /graphql in a browser gets GraphiQL, which loads nothing from anywhere and may do nothing without a key. */
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KEYS, shareCompiled, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { portcullis, temporaryFolder } from "./support/portcullis.ts";

const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

let building: TestGateway;
let production: TestGateway;
beforeAll(async () => {
  building = await startGateway({}, { production: false });
  production = await startGateway();
});
afterAll(async () => {
  await building.close();
  await production.close();
});

const get = (gateway: TestGateway, headers: Record<string, string>, method = "GET") =>
  fetch(`${gateway.url}/graphql`, { method, headers });

test("a browser gets the page outside production, without a credential", async () => {
  const answer = await get(building, { accept: BROWSER });
  expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
  const page = await answer.text();
  expect(page).toContain("renderYogaGraphiQL(");
  expect(page).toContain('"shouldPersistHeaders":false');
});

test("the page names no other host to load from, and its policy would not let it", async () => {
  const answer = await get(building, { accept: BROWSER });
  const page = await answer.text();
  const markup = page.replaceAll(/<script>[^]*?<\/script>|<style>[^]*?<\/style>/g, "");
  expect(markup).not.toMatch(/(src|href)="(?!data:)/);
  expect(page).not.toMatch(/<(script|link|img)[^>]{0,200}\b(src|href)=["'](https?:)?\/\//);
  expect(page).not.toMatch(/@import|url\(["']?(https?:)?\/\/|importScripts\(["'`](https?:)?\/\//);
  const policy = answer.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy.split("; ").filter((rule) => /https?:|\*|unsafe-eval/.test(rule))).toEqual([]);
  expect(policy).toContain("connect-src 'self'");
});

test("what the page asks needs a key", async () => {
  const ask = (headers: Record<string, string>) =>
    fetch(`${building.url}/graphql`, {
      method: "POST",
      headers: { origin: building.url, "content-type": "application/json", accept: "application/json", ...headers },
      body: JSON.stringify({ query: "{ me { id } }" }),
    });
  expect((await ask({})).status).toBe(401);
  expect((await ask({ "x-api-key": "" })).status).toBe(401);
  expect(await (await ask({ "x-api-key": KEYS.alice })).json()).toEqual({ data: { me: { id: "alice" } } });
});

test("programs get what they got, wherever they say that they take HTML too", async () => {
  for (const accept of ["application/json", "*/*", "application/json, text/html"]) {
    expect((await get(building, { accept })).status).toBe(401);
    const { status, headers } = await get(building, { accept, "x-api-key": KEYS.alice });
    expect([status, headers.get("content-type")]).toEqual([400, expect.stringContaining("json")]);
  }
});

test("in production there is no page", async () => {
  expect((await get(production, { accept: BROWSER })).status).toBe(401);
  expect((await get(production, { accept: "text/html", "x-api-key": KEYS.alice })).status).toBe(406);
});

test("other methods are refused, there and here", async () => {
  for (const gateway of [building, production]) {
    expect((await get(gateway, { accept: BROWSER, "x-api-key": KEYS.alice }, "PUT")).status).toBe(405);
    expect((await get(gateway, { accept: BROWSER }, "POST")).status).toBe(401);
  }
});

test.each([
  ["production", 401],
  ["development", 200],
])("a gateway that runs with NODE_ENV=%s answers a browser with %i", async (mode, status) => {
  const folder = temporaryFolder();
  await shareCompiled(folder);
  const gateway = await portcullis({ config: "", folder, env: { NODE_ENV: mode } });
  expect((await fetch(`${gateway.url}/graphql`, { headers: { accept: BROWSER } })).status).toBe(status);
  await gateway.stop();
  await rm(folder, { recursive: true });
});
