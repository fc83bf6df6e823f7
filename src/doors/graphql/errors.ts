/**
 * How does a refusal become a GraphQL error? What a verb refused carries its own call's fields. Whatever else went
 * wrong, from a syntax error to a bug, is refused by the verb `refuse`, so that it too is recorded and has a call id.
 */
import { GraphQLError } from "graphql";
import { refuse } from "../../call.ts";
import type { JsonObject, Outcome } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { refusalBody, statusOf } from "../render.ts";
import type { Graph } from "./graph.ts";

/** @throws GraphQLError carrying the refusal */
export function valueOf<Value>(outcome: Outcome<Value>): Value {
  if (outcome.ok) return outcome.value;
  throw refusalError(outcome);
}

export function refusalError({ refusal, call }: Outcome<unknown> & { readonly ok: false }): GraphQLError {
  return new GraphQLError(refusal.message, { extensions: refusalBody(refusal, call) });
}

/** Each error as the caller may see it, with `code`, `callId`, `retryable` and `executed`. */
export async function tell(graph: Graph, errors: readonly GraphQLError[]): Promise<readonly GraphQLError[]> {
  // one fault may strike five hundred fields: it is recorded once
  const recorded = new Map<string, Promise<Told>>();
  const record = (refusal: Refusal): Promise<Told> => {
    const key = `${refusal.code} ${refusal.message}`;
    let told = recorded.get(key);
    if (told === undefined) recorded.set(key, (told = recordRefusal(graph, refusal)));
    return told;
  };
  return Promise.all(errors.map((error) => tellOne(error, record)));
}

type Told = {
  readonly message: string;
  readonly extensions: JsonObject;
  readonly status: number;
  readonly ours: boolean;
};

async function recordRefusal(graph: Graph, refusal: Refusal): Promise<Told> {
  const outcome = await refuse(graph.gateway, graph.asked, refusal);
  if (outcome.ok) throw new Error("A refusal was not refused.");
  const ours = outcome.refusal.code === "invalid_request";
  return {
    message: outcome.refusal.message,
    extensions: refusalBody(outcome.refusal, outcome.call),
    status: statusOf(outcome.refusal),
    ours,
  };
}

async function tellOne(error: GraphQLError, record: (refusal: Refusal) => Promise<Told>): Promise<GraphQLError> {
  if (typeof error.extensions["callId"] === "string") return error;
  const { message, extensions, status, ours } = await record(refusalOf(error));
  // of a request that was never executed: `spec` lets application/json answer 200, as GraphQL over HTTP wants it
  const http =
    error.path !== undefined ? {} : { http: ours ? (error.extensions["http"] ?? { spec: true, status }) : { status } };
  const { nodes, source, positions, path } = error;
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
    extensions: { ...extensions, ...http },
  });
}

/** graphql's own messages quote the caller's document and variables only; all other text stays inside. */
function refusalOf(error: GraphQLError): Refusal {
  const thrown = error.originalError;
  if (thrown instanceof Refusal) return thrown;
  if (error.path === undefined && (thrown === undefined || thrown instanceof GraphQLError)) {
    return new Refusal("invalid_request", error.message);
  }
  // graphql marks a bad argument with its place in the document, an unfit value of ours with none
  if (thrown instanceof GraphQLError && thrown.nodes !== undefined) {
    return new Refusal("invalid_request", "An argument is missing or unfit.");
  }
  return Refusal.from(thrown ?? error);
}
