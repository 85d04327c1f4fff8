module LsmFs.Engine.Tests.EntryTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

[<Tests>]
let tests =
    testList "Entry" [
        property "what is encoded is read back" (fun (write: Write) ->
            let bytes = Array.append [| 7uy; 7uy |] (encode 42UL write)
            let entry = { Buffer = bytes; Offset = 2 }
            Expect.equal (EntryFormat.measure (span bytes) 2) (bytes.Length - 2) "length by measure"
            Expect.equal entry.Length (bytes.Length - 2) "length"
            Expect.equal (entry.Key.ToArray()) write.WriteKey "key"
            Expect.equal (entry.Value.ToArray()) (write.WriteValue |> ValueOption.defaultValue [||]) "value"
            Expect.equal (entry.Kind = EntryKind.Value) write.WriteValue.IsSome "kind"
            Expect.equal entry.Flags write.WriteFlags "flags"
            Expect.equal entry.ExpirySeconds write.WriteExpirySeconds "expiry"
            Expect.equal entry.Cas (if write.WriteCas = 0UL then 42UL else write.WriteCas) "cas"
            Expect.equal entry.Marks write.WriteMarks "marks"
            Expect.equal entry.Sequence (SequenceNumber 42UL) "sequence")

        property "a value in two parts is the value" (fun (write: Write) (Value head) (Value tail) ->
            let whole, parts = ByteBuffer 16, ByteBuffer 16

            EntryFormat.append whole (headerOf 1UL write) (span write.WriteKey) (span (Array.append head tail))
            |> ignore

            let header = headerOf 1UL write

            EntryFormat.appendParts parts &header (span write.WriteKey) (span head) (span tail) |> ignore

            whole.ToArray() = parts.ToArray())

        property "every prefix of an entry is refused" (fun (write: Write) ->
            let bytes = encode 42UL write

            for length in 0 .. bytes.Length - 1 do
                Expect.equal
                    (EntryFormat.measure (ReadOnlySpan<byte>(bytes, 0, length)) 0)
                    -1
                    $"prefix of {length} bytes")

        property "unknown kinds and fields are refused" (fun (write: Write) ->
            let bytes = encode 42UL write
            let kind, fields = Array.copy bytes, Array.copy bytes
            kind[6] <- 3uy
            fields[7] <- fields[7] ||| 64uy
            EntryFormat.measure (span kind) 0 = -1 && EntryFormat.measure (span fields) 0 = -1)

        test "a header holds only what is not the default" {
            let buffer = ByteBuffer 16

            let header = {
                Kind = EntryKind.Value
                Sequence = SequenceNumber 0x0102030405060708UL
                Flags = 0u
                ExpirySeconds = 0u
                Cas = 0UL
                Marks = EntryMarks.None
            }

            Expect.equal (EntryFormat.append buffer header (span "k"B) (span "vv"B)) (16 + 1 + 2) "no optional field"

            Expect.equal
                (buffer.ToArray())
                (Array.concat [
                    [| 0uy; 0uy; 0uy; 2uy; 0uy; 1uy; 1uy; 0uy; 1uy; 2uy; 3uy; 4uy; 5uy; 6uy; 7uy; 8uy |]
                    "kvv"B
                ])
                "the bytes of the format"
        }
    ]
