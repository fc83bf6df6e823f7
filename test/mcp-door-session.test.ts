/** A session id is sealed: only this keyring makes one, and nobody can turn one into another. */
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { openSession, ownerOf, reopenSession, sealSession } from "../src/doors/mcp/session.ts";
import type { Session } from "../src/doors/mcp/session.ts";
import type { Principal } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";

const { random } = realPorts(silent);
const session: Session = {
  owner: '["user","alice","acme",null]',
  protocol: "2025-06-18",
  expiresMs: 1_790_000_000_000,
};
const newKey = (id: string) => ({ id, key: randomBytes(32) });

test("opens to what was sealed, in visible characters only", () => {
  const key = newKey("k1");
  const text = sealSession([key], session, random);
  expect(text).toMatch(/^[\x21-\x7e]+$/);
  expect(text).not.toContain("alice");
  expect(openSession([key], text)).toEqual(session);
});

test("is different every time", () => {
  const key = newKey("k1");
  expect(sealSession([key], session, random)).not.toBe(sealSession([key], session, random));
});

test("opens with a previous key, and not once that is gone", () => {
  const [old, fresh] = [newKey("k1"), newKey("k2")] as const;
  const text = sealSession([old], session, random);
  expect(openSession([fresh, old], text)).toEqual(session);
  expect(openSession([fresh], text)).toBeNull();
});

test("does not open under another key of the same name", () => {
  expect(openSession([newKey("k1")], sealSession([newKey("k1")], session, random))).toBeNull();
});

test("does not open with any one character changed, cut or added", () => {
  const key = newKey("k1");
  const text = sealSession([key], session, random);
  for (let at = 0; at < text.length; at++) {
    const other = text[at] === "A" ? "B" : "A";
    expect(openSession([key], text.slice(0, at) + other + text.slice(at + 1)), `character ${at}`).toBeNull();
  }
  for (const spoiled of [
    text.slice(0, -1),
    `${text}A`,
    `${text}=`,
    ` ${text}`,
    text.slice(3),
    "",
    ".",
    "k1.",
    "k1.AAAA",
  ]) {
    expect(openSession([key], spoiled), spoiled).toBeNull();
  }
});

test("tells principals apart by kind, id, tenant and the user they act for", () => {
  const alice: Principal = {
    id: "alice",
    kind: "user",
    roles: [],
    permissions: [],
    tenant: "acme",
    onBehalfOf: null,
    claims: {},
  };
  const others = [{ id: "bob" }, { kind: "agent" }, { tenant: "other" }, { onBehalfOf: "bob" }] as const;
  const owners = [alice, ...others.map((change) => ({ ...alice, ...change }))].map(ownerOf);
  expect(new Set(owners).size).toBe(owners.length);
  expect(ownerOf({ ...alice, roles: ["changed"] })).toBe(owners[0]);
});

test("is remembered once opened, within bounds, and never where it did not open", () => {
  const keys = [newKey("k1")] as const;
  const opened = new Map<string, Session>();
  expect(reopenSession(keys, opened, "k1.AAAA")).toBeNull();
  expect(opened.size).toBe(0);
  const first = sealSession(keys, session, random);
  expect(reopenSession(keys, opened, first)).toBe(reopenSession(keys, opened, first));
  for (let n = 0; n < 5000; n++) reopenSession(keys, opened, sealSession(keys, session, random));
  expect(opened.size).toBe(4096);
  expect(opened.has(first)).toBe(false);
  expect(reopenSession(keys, opened, first)).toEqual(session);
});
