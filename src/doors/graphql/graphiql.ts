/**
 * GraphiQL, for people who look at the graph while they build; never in production. What surprises: the page is given
 * to anybody, because there is nothing in it; what it asks needs the key that its user types into the header editor,
 * like every other request. It comes whole out of one package, and its policy lets it speak to nobody but this gateway.
 */
import type { Exchange } from "../exchange.ts";

const HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'unsafe-inline'",
    "style-src 'unsafe-inline'",
    "img-src data:",
    "font-src data:",
    "worker-src blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
} as const;

const OPTIONS = {
  title: "Portcullis",
  endpoint: "/graphql",
  defaultQuery: `# Your key goes into Headers, below.\n\n{\n  me { id permissions }\n  tools(first: 10) { edges { node { name description } } }\n}\n`,
  headers: `{\n  "x-api-key": ""\n}`,
  defaultEditorToolsVisibility: "headers",
  // a key must not outlive the tab
  shouldPersistHeaders: false,
} as const;

/** A browser that opens a page names HTML first; no program does that asks for data. */
export function wantsPage({ method, headers }: Exchange): boolean {
  return method === "GET" && /^\s*text\/html\b/i.test(headers["accept"] ?? "");
}

/** Loads nine megabytes of page, which a gateway in production never does. */
export async function replyPage(exchange: Exchange): Promise<void> {
  const { renderGraphiQL } = await import("@graphql-yoga/render-graphiql");
  exchange.reply(200, HEADERS, renderGraphiQL(OPTIONS));
}
