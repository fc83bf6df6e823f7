/**
 * May Envoy let this request through? One form of the question, whether it came over HTTP or gRPC, becomes one verb's
 * request. Which server is meant says Envoy's configuration alone: nothing that a client sends does.
 */
import { checkCall, refuse } from "../../call.ts";
import type { Gateway } from "../../gateway.ts";
import type { Asked, Call, Outcome } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { listTools } from "../../view.ts";
import { askedOf } from "../exchange.ts";
import type { Exchange, Headers } from "../exchange.ts";
import { envelopeOf } from "../mcp/message.ts";
import { checkParameters } from "../mcp/modern.ts";
import { enter } from "../mcp/turn.ts";
import { protocolOf, readWanted } from "./message.ts";
import type { Held } from "./message.ts";

export type Question = Held &
  Pick<Exchange, "ip" | "credential" | "signal"> & {
    /** `{server}` or `{server}@{version}`, as the operator wrote it; null where that is missing. */
    readonly place: string | null;
  };

export async function check(gateway: Gateway, question: Question): Promise<Outcome<unknown>> {
  try {
    return await answer(gateway, question);
  } catch (thrown) {
    return refuseCheck(gateway, question, Refusal.from(thrown));
  }
}

export function refuseCheck(gateway: Gateway, question: Question, refusal: Refusal): Promise<Outcome<never>> {
  return refuse(gateway, askedBy(question), refusal);
}

async function answer(gateway: Gateway, question: Question): Promise<Outcome<unknown>> {
  const { headers, body } = question;
  checkOnce(headers);
  checkPlain(question);
  if (body !== undefined) checkWhole(headers);
  const at = placeOf(question.place);
  const wanted = readWanted(question);
  const asked = askedBy(question);
  if (wanted.kind !== "use") {
    const entered = await enter({ gateway, endpoint: at, asked });
    return wanted.kind === "list" && entered.ok ? listTools(gateway, asked, { ...at, whole: true }) : entered;
  }
  const { name, arguments: args, meta } = wanted;
  const tool = { kind: "upstream", name, ...at } as const;
  if (wanted.isModern) await checkParameters(gateway, headers, asked, { tool, arguments: args });
  return checkCall(gateway, { ...asked, tool, arguments: args, meta, onProgress: null });
}

/** The path is the operator's part of it: a client's could fall under another path's `auth.anonymous`. */
function askedBy({ place, headers, body, ip, credential, signal }: Question): Asked {
  const path = place === null ? "/ext_authz" : `/ext_authz/${place}`;
  const spoken = { interface: "ext_authz", protocol: protocolOf(headers), meta: envelopeOf(body) } as const;
  return askedOf({ path, headers, ip, credential, signal }, spoken);
}

/** Envoy joins headers of one name with commas, and neither a key nor a token has one. */
function checkOnce(headers: Headers): void {
  for (const name of ["authorization", "x-api-key"]) {
    if (headers[name]?.includes(",") === true)
      throw new Refusal("invalid_request", `The header ${name} must occur once.`);
  }
}

/** What another reader could take for another request. @throws Refusal invalid_request */
function checkPlain({ method, headers, body }: Question): void {
  const names = Object.keys(headers);
  if (
    headers["upgrade"] !== undefined ||
    names.some((name) => /^x-http-method(-override)?$|^x-method-override$/.test(name))
  )
    throw new Refusal("invalid_request", "A request that asks to be taken for another does not pass.");
  const announced = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
  if ((method === "GET" || method === "DELETE") && (body !== undefined || announced))
    throw new Refusal("invalid_request", "Only POST has a body.");
}

export const PARTIAL = "x-envoy-auth-partial-body";

/** Envoy says so of every body that it sends, and takes the header away from clients. @throws Refusal payload_too_large */
export function checkWhole(headers: Headers): void {
  if (headers[PARTIAL] !== "false") throw partial();
}

export function partial(): Refusal {
  return new Refusal("payload_too_large", "The body did not come whole.");
}

/** @throws Refusal invalid_request */
function placeOf(place: string | null): { readonly server: string; readonly version: string | null } {
  const [, server, version = null] = /^([a-z][a-z0-9-]{0,23})(?:@([^/\s]{1,64}))?$/.exec(place ?? "") ?? [];
  if (server !== undefined) return { server, version };
  throw new Refusal("invalid_request", "The check names no server.", { status: 404 });
}

/** What goes on to the server, in place of whatever a client sent under these names. */
export function passedOn({ id, principal }: Call): { readonly [name: string]: string } {
  return { "x-portcullis-call-id": id, "x-portcullis-principal": escaped(principal?.id ?? "") };
}

/** Credentials for us are not for servers. */
export const REMOVED: readonly string[] = ["authorization", "x-api-key"];

/** A principal's id may hold any character, a header may not: those are percent-encoded, and `%` too. */
function escaped(id: string): string {
  return id.toWellFormed().replaceAll(/[^\x21-\x24\x26-\x7e]/gu, (character) => encodeURIComponent(character));
}
