/// Packets of the binary protocol for tests: making requests, reading replies, and streams of good, lying and garbled requests.
module LsmFs.Engine.Tests.Packets

open System
open System.Buffers.Binary
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Streams

/// A request before it is encoded.
type Request = {
    Opcode: byte
    Key: byte[]
    Extras: byte[]
    Value: byte[]
    Cas: uint64
    Opaque: uint32
}

/// Big-endian bytes.
let u32 (number: uint32) : byte[] =
    let bytes: byte[] = Array.zeroCreate 4
    BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(), number)
    bytes

let u64 (number: uint64) : byte[] =
    let bytes: byte[] = Array.zeroCreate 8
    BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(), number)
    bytes

let request (opcode: BinaryOpcode) (key: string) (extras: byte[]) (value: string) : Request = {
    Opcode = byte opcode
    Key = latin key
    Extras = extras
    Value = latin value
    Cas = 0UL
    Opaque = 0xDEADBEEFu
}

/// The packet of a request, its body announced as this long.
let encodeAnnouncing (bodyLength: uint32) (request: Request) : byte[] =
    Array.concat [
        [| 0x80uy; request.Opcode; byte (request.Key.Length >>> 8); byte request.Key.Length |]
        [| byte request.Extras.Length; 0uy; 0uy; 0uy |]
        u32 bodyLength
        u32 request.Opaque
        u64 request.Cas
        request.Extras
        request.Key
        request.Value
    ]

/// The packet of a request.
let encode (request: Request) : byte[] =
    encodeAnnouncing (uint32 (request.Extras.Length + request.Key.Length + request.Value.Length)) request

/// A reply as it came.
type Response = {
    Opcode: byte
    Status: uint16
    Extras: string
    Key: string
    Body: string
    Opaque: uint32
    Cas: uint64
}

/// The whole replies in these bytes, and how many bytes are left over.
let decode (bytes: byte[]) : Response list * int =
    let rec go (offset: int) (found: Response list) =
        if bytes.Length - offset < BinaryFormat.headerLength then
            List.rev found, bytes.Length - offset
        else
            let header = ReadOnlySpan<byte>(bytes, offset, BinaryFormat.headerLength)
            let keyLength = int (Coding.readU16 header 2)
            let extrasLength = int header[4]
            let bodyLength = int (Coding.readU32 header 8)
            let start = offset + BinaryFormat.headerLength

            if bytes.Length - start < bodyLength then
                List.rev found, bytes.Length - offset
            else
                if header[0] <> BinaryFormat.replyMagic || extrasLength + keyLength > bodyLength then
                    failwithf "no reply: %s" (Convert.ToHexString header)

                let text (from: int) (length: int) = ofLatin (ReadOnlySpan<byte>(bytes, start + from, length))

                let response = {
                    Opcode = header[1]
                    Status = Coding.readU16 header 6
                    Extras = text 0 extrasLength
                    Key = text extrasLength keyLength
                    Body = text (extrasLength + keyLength) (bodyLength - extrasLength - keyLength)
                    Opaque = Coding.readU32 header 12
                    Cas = Coding.readU64 header 16
                }

                go (start + bodyLength) (response :: found)

    go 0 []

/// Extras that a command wants.
let extrasGen (opcode: BinaryOpcode) : Gen<byte[]> =
    let exptimeGen =
        Gen.elements [ 0u; 0u; 100u; 2592000u; 2592001u; 0x7FFFFFFFu; 0x80000000u; 0xFFFFFFFEu ]

    match BinaryFormat.loud opcode with
    | BinaryOpcode.Set
    | BinaryOpcode.Add
    | BinaryOpcode.Replace ->
        Gen.map2
            (fun flags exptime -> Array.append (u32 flags) (u32 exptime))
            (Gen.elements [ 0u; 1u; 0xFFFFFFFFu ])
            exptimeGen
    | BinaryOpcode.Increment
    | BinaryOpcode.Decrement ->
        let numberGen = Gen.elements [ 0UL; 1UL; 7UL; 1UL <<< 63; UInt64.MaxValue ]

        Gen.map3
            (fun delta initial exptime -> Array.concat [ u64 delta; u64 initial; u32 exptime ])
            numberGen
            numberGen
            (Gen.oneof [ Gen.constant BinaryFormat.doNotCreate; exptimeGen ])
    | BinaryOpcode.Touch
    | BinaryOpcode.Gat
    | BinaryOpcode.GatK -> Gen.map u32 exptimeGen
    | BinaryOpcode.Flush -> Gen.oneof [ Gen.constant [||]; Gen.map u32 exptimeGen ]
    | _ -> Gen.constant [||]

let private hasKey (opcode: BinaryOpcode) =
    match BinaryFormat.loud opcode with
    | BinaryOpcode.Noop
    | BinaryOpcode.Version
    | BinaryOpcode.Quit
    | BinaryOpcode.Flush
    | BinaryOpcode.SaslMechanisms -> false
    | _ -> true

let private hasValue (opcode: BinaryOpcode) =
    match BinaryFormat.loud opcode with
    | BinaryOpcode.Set
    | BinaryOpcode.Add
    | BinaryOpcode.Replace
    | BinaryOpcode.Append
    | BinaryOpcode.Prepend
    | BinaryOpcode.SaslAuth
    | BinaryOpcode.SaslStep -> true
    | _ -> false

/// A request with the parts that its command wants, its value within `valueLengthMax`.
let goodGen: Gen<Request> =
    gen {
        let! opcode = Gen.elements (Enum.GetValues<BinaryOpcode>() |> List.ofArray)
        let! key = Gen.elements [ "a"; "b"; "c"; String('k', 250); "a b\r\n\000\128" ]
        let! extras = extrasGen opcode
        let! length = Gen.choose (0, valueLengthMax)
        let! value = Gen.arrayOfLength length (Gen.elements [ 0uy; 13uy; 10uy; 48uy; 0x80uy ])
        let! cas = Gen.elements [ 0UL; 0UL; 1UL; 2UL; UInt64.MaxValue ]
        let! opaque = Gen.elements [ 0u; 1u; 0xFFFFFFFFu ]

        return {
            Opcode = byte opcode
            Key = (if hasKey opcode then latin key else [||])
            Extras = extras
            Value = (if hasValue opcode then value else [||])
            Cas = cas
            Opaque = opaque
        }
    }

let private fragmentGen: Gen<byte[]> =
    Gen.frequency [
        16, Gen.map encode goodGen
        // Parts that the command does not want, and values that are too large.
        2,
        gen {
            let! good = goodGen
            let! keyLength = Gen.elements [ 0; 1; 250; 251 ]
            let! extrasLength = Gen.elements [ 0; 4; 8; 20; 255 ]
            let! valueLength = Gen.elements [ 0; 1; 40; 41; 200 ]

            return
                encode {
                    good with
                        Key = Array.create keyLength 107uy
                        Extras = Array.create extrasLength 1uy
                        Value = Array.create valueLength 118uy
                }
        }
        2,
        gen {
            let! good = goodGen
            return encode { good with Value = Array.create 60 118uy }
        }
        // Bodies that are not as long as they say.
        1,
        gen {
            let! good = goodGen

            let! announced =
                Gen.elements [ 0u; 1u; 30u; 0x3FFFFFFFu; 0x40000000u; 0x40000001u; 0x7FFFFFFFu; 0xFFFFFFFFu ]

            return encodeAnnouncing announced good
        }
        1,
        gen {
            let! good = goodGen
            let! opcode = Gen.choose (0, 255)
            return encode { good with Opcode = byte opcode }
        }
        1, Gen.listOf (Gen.choose (0, 255)) |> Gen.map (List.map byte >> Array.ofList)
    ]

/// A stream of a client that speaks binary: mostly good, now and then not.
type PacketStream = PacketStream of byte[]

type PacketArbitraries =
    static member PacketStream() = Gen.listOf fragmentGen |> Gen.map (Array.concat >> PacketStream) |> Arb.fromGen
    static member Request() = Arb.fromGen goodGen
    static member Cuts() = Arbitraries.Cuts()

/// A property over packets.
let packetProperty (name: string) (body: 'input -> 'result) =
    Expecto.ExpectoFsCheck.testPropertyWithConfig
        {
            Expecto.FsCheckConfig.defaultConfig with
                maxTest = 300
                endSize = 30
                arbitrary = [ typeof<PacketArbitraries> ]
        }
        name
        body
