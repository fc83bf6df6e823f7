/** schema/ext_authz.proto in types, as doors/grpc.ts reads and writes it: what was not sent is not there. */
export type CheckRequest = {
  readonly attributes?: {
    readonly source?: { readonly address?: { readonly socket_address?: { readonly address?: string } } };
    readonly request?: { readonly http?: HttpRequest };
    readonly context_extensions?: { readonly [key: string]: string };
    readonly metadata_context?: { readonly filter_metadata?: { readonly [namespace: string]: Struct } };
  };
};
export type HttpRequest = {
  readonly method?: string;
  readonly headers?: { readonly [name: string]: string };
  readonly host?: string;
  readonly size?: number;
  readonly body?: Buffer;
  readonly raw_body?: Buffer;
  readonly header_map?: {
    readonly headers?: readonly { readonly key?: string; readonly value?: string; readonly raw_value?: Buffer }[];
  };
};
export type CheckResponse = {
  readonly status: { readonly code: number };
  readonly ok_response?: {
    readonly headers: readonly HeaderValueOption[];
    readonly headers_to_remove: readonly string[];
    readonly response_headers_to_add: readonly HeaderValueOption[];
  };
  readonly denied_response?:
    | {
        readonly status: { readonly code: number };
        readonly headers: readonly HeaderValueOption[];
        readonly body: string;
      }
    | undefined;
  readonly dynamic_metadata: Struct;
};
export type HeaderValueOption = { readonly header: { readonly key: string; readonly value: string } };
export type Struct = { readonly fields?: { readonly [name: string]: StructValue | undefined } };
type StructValue = { readonly stringValue?: string | undefined; readonly structValue?: Struct };
