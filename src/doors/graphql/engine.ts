/**
 * How is a document executed? graphql-yoga, given parameters that the strict parser read: it never sees the bytes.
 * What surprises: this file and graphql are loaded with the first request, or shortly after start; and the guards run
 * before graphql's validation, on cached documents too, since the size of an answer depends on the variables.
 */
import type { DocumentNode, ExecutionResult } from "graphql";
import {
  createGraphQLError,
  createLRUCache,
  createSchema,
  createYoga,
  isAsyncIterable,
  processRegularResult,
} from "graphql-yoga";
import type { Plugin } from "graphql-yoga";
import { tell } from "./errors.ts";
import type { Context, Graph } from "./graph.ts";
import { assertBounded, parseBounded } from "./guards.ts";
import type { Accepted, Parameters } from "./parameters.ts";
import { createResolvers } from "./resolvers.ts";

export type Operation = {
  readonly graph: Graph;
  readonly parameters: Parameters;
  readonly accepted: Accepted;
  readonly method: string;
};
export type Executed =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly headers: { readonly [name: string]: string };
      readonly body: string;
    }
  | { readonly kind: "events"; readonly events: AsyncIterable<object> };
export type Engine = (operation: Operation) => Promise<Executed>;

/** Longer documents are parsed each time: the cache is bounded in documents, and must be in bytes too. */
const CACHED_LENGTH_MAX = 8192;
const CACHED_MAX = 256;
const MUTATION = /^type Mutation \{[^}]*\}\n/m;

/** Without `calls` the schema has no mutation. */
export function createEngine(sdl: string, { calls = true }: { readonly calls?: boolean } = {}): Engine {
  const streams = new WeakMap<Request, AsyncIterable<object>>();
  const { Mutation, ...others } = createResolvers();
  const yoga = createYoga<Operation & Context>({
    schema: createSchema<Operation & Context>({
      typeDefs: calls ? sdl : sdl.replace(MUTATION, ""),
      resolvers: calls ? { ...others, Mutation } : others,
    }),
    plugins: [oneParser(), bounds(), answers(streams)],
    parserAndValidationCache: { documentCache: documentCache(), errorCache: { get: () => undefined, set: () => {} } },
    graphqlEndpoint: "/graphql",
    batching: false,
    multipart: false,
    maxRequestBodySize: false,
    cors: false,
    graphiql: false,
    landingPage: false,
    logging: false,
    maskedErrors: false,
  });
  return async (operation) => {
    const { asked } = operation.graph;
    // no URL is built from Host
    const request = new yoga.fetchAPI.Request("http://gateway/graphql", {
      method: operation.method,
      signal: asked.signal,
    });
    const response = await yoga.fetch(request, { ...operation });
    const events = streams.get(request);
    if (events !== undefined) return { kind: "events", events };
    return {
      kind: "answer",
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: await response.text(),
    };
  };
}

type HousePlugin = Plugin<Operation & Context, Operation & Context>;

function oneParser(): HousePlugin {
  return {
    onRequestParse: ({ serverContext, setRequestParser }) => setRequestParser(() => ({ ...serverContext.parameters })),
  };
}

function bounds(): HousePlugin {
  return {
    onParse: ({ parseFn, setParseFn, context }) => {
      setParseFn((source: string) => parseBounded(parseFn, source));
      return ({ result }) => {
        if (result === null || result instanceof Error) return;
        assertBounded(result, context.parameters.variables ?? {});
        assertStreams(result, context);
      };
    },
  };
}

/** Before anything runs: a subscription that cannot be answered must not be opened. */
function assertStreams(document: DocumentNode, { accepted }: Operation): void {
  const subscribes = document.definitions.some(
    (one) => one.kind === "OperationDefinition" && one.operation === "subscription",
  );
  if (!subscribes || accepted.stream) return;
  throw createGraphQLError("A subscription is answered as text/event-stream only.", {
    extensions: { http: { status: 406 } },
  });
}

function answers(streams: WeakMap<Request, AsyncIterable<object>>): HousePlugin {
  return {
    onResultProcess: async (hook) => {
      const { request, result, serverContext } = hook;
      const { graph, accepted } = serverContext;
      if (isAsyncIterable(result)) {
        streams.set(request, eventsOf(graph, result as AsyncIterable<ExecutionResult>));
        return hook.setResultProcessor((_, { Response }) => new Response(null), "text/event-stream");
      }
      const told = await toldResult(graph, result as ExecutionResult);
      hook.setResult(told);
      if (accepted.json === null && (told.data ?? null) !== null) streams.set(request, once(told));
      hook.setResultProcessor(processRegularResult, accepted.json ?? "application/graphql-response+json");
    },
  };
}

async function toldResult(graph: Graph, result: ExecutionResult): Promise<ExecutionResult> {
  return result.errors === undefined ? result : { ...result, errors: await tell(graph, result) };
}

async function* eventsOf(graph: Graph, results: AsyncIterable<ExecutionResult>): AsyncGenerator<object, void> {
  for await (const result of results) yield bare(await toldResult(graph, result));
}

async function* once(result: ExecutionResult): AsyncGenerator<object, void> {
  yield bare(result);
}

/** Without what was meant for HTTP. */
function bare({ data, errors }: ExecutionResult): object {
  const shown = errors?.map((error) => {
    const { http: _, ...extensions } = error.extensions;
    return { ...error.toJSON(), extensions };
  });
  return {
    ...(data === undefined ? {} : { data }),
    ...(shown === undefined ? {} : { errors: shown }),
  };
}

function documentCache(): {
  get: (text: string) => DocumentNode | undefined;
  set: (text: string, document: DocumentNode) => void;
} {
  const cache = createLRUCache<DocumentNode>({ max: CACHED_MAX });
  return {
    get: (text) => cache.get(text),
    set: (text, document) => {
      if (text.length <= CACHED_LENGTH_MAX) cache.set(text, document);
    },
  };
}
