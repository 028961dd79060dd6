import type { BinaryReader } from '@bufbuild/protobuf/wire';

/** Encoder and decoder of a message, as ts-proto generates them. */
interface MessageType<Message> {
  encode(message: Message): { finish(): Uint8Array };
  decode(bytes: BinaryReader | Uint8Array): Message;
}

/** A method of a service, as ts-proto generates it. */
export interface Method<Request, Response> {
  readonly name: string;
  readonly requestType: MessageType<Request>;
  readonly responseType: MessageType<Response>;
}
