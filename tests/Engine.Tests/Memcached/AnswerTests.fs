/// Answers that no command leads to in the engine alone: the host gives them.
module LsmFs.Engine.Tests.AnswerTests

open System
open System.Buffers.Binary
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private commandIn (dialect: Dialect) : Command = { Unchecked.defaultof<Command> with Dialect = dialect }

/// The header of a request of the binary protocol, with an opaque of its own.
let private request (opcode: byte) : byte[] =
    let bytes = Array.zeroCreate<byte> BinaryFormat.headerLength
    bytes[0] <- 0x80uy
    bytes[1] <- opcode
    BinaryPrimitives.WriteUInt32BigEndian(Span<byte>(bytes, 12, 4), 0xCAFEBABEu)
    bytes

let private text (bytes: byte[]) : string = Text.Encoding.ASCII.GetString bytes

/// The status of a response, after what must be so of any.
let private statusOf (opcode: byte) (body: string) (response: byte[]) : uint16 =
    Expect.equal response.Length (BinaryFormat.headerLength + body.Length) "its length"
    Expect.equal (response[0], response[1]) (0x81uy, opcode) "a response to this"
    Expect.equal (BinaryPrimitives.ReadUInt32BigEndian(ReadOnlySpan<byte>(response, 8, 4))) (uint32 body.Length) "body"
    Expect.equal (BinaryPrimitives.ReadUInt32BigEndian(ReadOnlySpan<byte>(response, 12, 4))) 0xCAFEBABEu "the opaque"
    Expect.equal (text response[BinaryFormat.headerLength ..]) body "what it says"
    BinaryPrimitives.ReadUInt16BigEndian(ReadOnlySpan<byte>(response, 6, 2))

[<Tests>]
let tests =
    testList "Answer" [
        property
            "a refusal says why, in the dialect of the command, behind what was there"
            (fun (before: byte[]) (length: byte) ->
                let reason = String('r', 1 + int length)

                let refusal (dialect: Dialect) (input: byte[]) =
                    let buffer = ByteBuffer 16
                    buffer.Append(span before)
                    let command = commandIn dialect
                    Answer.appendRefusal buffer &command (span input) reason
                    Expect.equal (buffer.ToArray()[.. before.Length - 1]) before "what was there"

                    Expect.isLessThanOrEqual
                        (buffer.Length - before.Length)
                        (Answer.refusalLengthMax reason)
                        "the room"

                    buffer.ToArray()[before.Length ..]

                for dialect in [ Dialect.Text; Dialect.Meta ] do
                    Expect.equal (text (refusal dialect [||])) $"SERVER_ERROR {reason}\r\n" $"{dialect}"

                // A set wants for memory; a get looked for what cannot be read. Quiet or not, they are told.
                for opcode, status in
                    [ 0x01uy, 0x82us; 0x11uy, 0x82us; 0x00uy, 0x84us; 0x09uy, 0x84us; 0x0Cuy, 0x84us ] do
                    Expect.equal
                        (statusOf opcode reason (refusal Dialect.Binary (request opcode)))
                        status
                        $"opcode {opcode}")

        test "the version, in each dialect" {
            let version (dialect: Dialect) (input: byte[]) =
                let target = Array.zeroCreate<byte> 64
                let command = commandIn dialect
                let length = Answer.writeVersion (Span<byte> target) &command (span input) "1.2.3"
                target[.. length - 1]

            Expect.equal (text (version Dialect.Text [||])) "VERSION 1.2.3\r\n" "text"
            Expect.equal (statusOf 0x0Buy "1.2.3" (version Dialect.Binary (request 0x0Buy))) 0us "binary"
        }
    ]
