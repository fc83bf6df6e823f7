/**
 * Envoy's check over HTTP: the client's own method, headers and body, at `/ext_authz/{server}[@{version}]` and the
 * client's path after it. 200 lets through; any other answer goes to the client as it is.
 */
import type { Gateway } from "../../gateway.ts";
import type { Outcome } from "../../model.ts";
import type { Refusal } from "../../refusal.ts";
import type { Exchange, Route } from "../exchange.ts";
import { callHeaders, replyProblem } from "../render.ts";
import { check, PARTIAL, partial, passedOn, refuseCheck, REMOVED } from "./check.ts";
import type { Question } from "./check.ts";

const METHODS = ["POST", "GET", "DELETE"];

export const extAuthzRoutes: readonly Route[] = ["/ext_authz", "/ext_authz/"].map((prefix) => ({
  prefix,
  methods: METHODS,
  door,
  malformed,
}));

async function door(gateway: Gateway, exchange: Exchange): Promise<void> {
  reply(exchange, await check(gateway, questionOf(exchange)));
}

async function malformed(gateway: Gateway, exchange: Exchange, refusal: Refusal): Promise<void> {
  // what Envoy has cut off is no JSON, and that is not the client's fault
  const told = exchange.headers[PARTIAL] === "true" ? partial() : refusal;
  reply(exchange, await refuseCheck(gateway, questionOf(exchange), told));
}

function questionOf({ method, path, headers, body, ip, credential, signal }: Exchange): Question {
  // `@` may come as %40
  const place = path.split("/", 3)[2]?.replace(/%40/i, "@") ?? null;
  return { method, headers, body, filter: null, ip, credential, signal, place };
}

function reply(exchange: Exchange, outcome: Outcome<unknown>): void {
  if (!outcome.ok)
    return replyProblem({ reply: (status, ...rest) => exchange.reply(belowFailure(status), ...rest) }, outcome);
  const headers = { ...passedOn(outcome.call), "x-envoy-auth-headers-to-remove": REMOVED.join(",") };
  exchange.reply(200, { ...headers, ...callHeaders(outcome.call) }, "");
}

/** To Envoy a status from 500 on is a failure of ours and no answer: `failure_mode_allow` would let the call through. */
function belowFailure(status: number): number {
  return status >= 400 && status < 500 ? status : 403;
}
