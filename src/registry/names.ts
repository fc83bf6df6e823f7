/**
 * What is a tool called here? One injective map from server and upstream name to a gateway name (contract §4). Names
 * are looked up, never split; two that meet are both refused, so that nobody can shadow another server's tool.
 */
import { hash } from "node:crypto";

const LENGTH_MAX = 64;

/** `server__tool` where that fits; else cleaned, cut, and ended by eight hex digits of the original's SHA-256. */
export function gatewayName(server: string, tool: string): string {
  const name = `${server}__${tool}`;
  if (name.length <= LENGTH_MAX && /^[A-Za-z0-9_-]+$/.test(name)) return name;
  const suffix = hash("sha256", name, "hex").slice(0, 8);
  const clean = name.replaceAll(/[^A-Za-z0-9_-]/g, "_").slice(0, LENGTH_MAX - 9);
  return `${clean}_${suffix}`;
}
