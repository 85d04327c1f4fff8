/// What the binary protocol answers, packet by packet: replayed against the engine, a real memcached and LsmFs as it is installed.
module LsmFs.Engine.Tests.BinaryConversation

open System
open System.Collections.Generic
open LsmFs.Engine
open LsmFs.Engine.Tests.Interpreter
open LsmFs.Engine.Tests.Packets

/// The cas uniques of one server, in the order they were first seen: the only thing about them that servers agree on.
type CasNumbers() =
    let seen = List<uint64>()

    member _.Count = seen.Count

    /// The place of a cas unique, from 1; 0 for none.
    member _.Number(cas: uint64) : int =
        if cas = 0UL then
            0
        else
            if not (seen.Contains cas) then
                seen.Add cas

            1 + seen.IndexOf cas

    /// The cas unique with this place; one that no item has for a place that is not taken.
    member _.Cas(place: uint64) : uint64 =
        if place = 0UL then 0UL
        elif place <= uint64 seen.Count then seen[int place - 1]
        else 999_999_999UL

/// A reply as one line: opcode, status, and what there is of cas, extras, key and body.
let show (numbers: CasNumbers) (response: Response) : string =
    let cas =
        match numbers.Number response.Cas with
        | 0 -> ""
        | place -> $" cas {place}"

    let part (name: string) (bytes: string) = if bytes = "" then "" else $" {name} {bytes}"

    let flags =
        if response.Extras = "" then
            ""
        else
            $" flags {Coding.readU32 (ReadOnlySpan<byte>(latin response.Extras)) 0}"

    let isNumber =
        response.Status = 0us
        && (match BinaryFormat.loud (LanguagePrimitives.EnumOfValue response.Opcode) with
            | BinaryOpcode.Increment
            | BinaryOpcode.Decrement -> true
            | _ -> false)

    let body =
        if isNumber then
            $" number {Coding.readU64 (ReadOnlySpan<byte>(latin response.Body)) 0}"
        else
            part "body" response.Body

    let opcode: BinaryOpcode = LanguagePrimitives.EnumOfValue response.Opcode
    let key = part "key" response.Key
    $"%A{opcode} {response.Status:x2}{cas}{flags}{key}{body}"

/// A packet that a conversation sends to learn that everything before it is answered.
let fence = encode { request BinaryOpcode.Noop "" [||] "" with Opaque = 0xFE11CE5Au }

/// The replies before the fence's, as lines; none when it has not come.
let tryBeforeFence (numbers: CasNumbers) (answer: string) : string list option =
    match decode (latin answer) with
    | responses, 0 when responses.Length > 0 && (List.last responses).Opaque = 0xFE11CE5Au ->
        Some(responses |> List.take (responses.Length - 1) |> List.map (show numbers))
    | _ -> None

/// One exchange: what is sent and the replies to it. `Cas` of a request is the place of a cas unique.
type Exchange = {
    Name: string
    Requests: Request list
    Replies: string list
    /// Whether the connection is closed behind the replies.
    IsClosed: bool
}

let private exchange (name: string) (requests: Request list) (replies: string list) : Exchange = {
    Name = name
    Requests = requests
    Replies = replies
    IsClosed = false
}

let private closing (name: string) (requests: Request list) (replies: string list) : Exchange = {
    exchange name requests replies with
        IsClosed = true
}

/// The packets of an exchange for a server with these cas uniques.
let packets (numbers: CasNumbers) (exchange: Exchange) : byte[] =
    exchange.Requests
    |> List.map (fun request -> encode { request with Cas = numbers.Cas request.Cas })
    |> Array.concat

let private plain (opcode: BinaryOpcode) = request opcode "" [||] ""
let private keyed (opcode: BinaryOpcode) (key: string) = request opcode key [||] ""

let private stored (opcode: BinaryOpcode) (key: string) (flags: uint32) (value: string) =
    request opcode key (Array.append (u32 flags) (u32 0u)) value

let private joined (opcode: BinaryOpcode) (key: string) (value: string) = request opcode key [||] value

let private counted (opcode: BinaryOpcode) (key: string) (delta: uint64) (initial: uint64) (exptime: uint32) =
    request opcode key (Array.concat [ u64 delta; u64 initial; u32 exptime ]) ""

let private touched (opcode: BinaryOpcode) (key: string) (exptime: uint32) = request opcode key (u32 exptime) ""

let private withCas (place: uint64) (request: Request) : Request = { request with Cas = place }

let private unknown (opcode: byte) = plain (LanguagePrimitives.EnumOfValue opcode)

let private invalid (opcode: BinaryOpcode) = [ $"%A{opcode} 04 body Invalid arguments" ]

/// The conversation, on one connection to a server without items; a closed connection is followed by a new one. All cas uniques up to 900 are taken in
/// the order in which they are shown.
let exchanges: Exchange list = [
    exchange "set" [ stored BinaryOpcode.Set "k" 7u "value" ] [ "Set 00 cas 1" ]
    exchange "get" [ keyed BinaryOpcode.Get "k" ] [ "Get 00 cas 1 flags 7 body value" ]
    exchange "getk" [ keyed BinaryOpcode.GetK "k" ] [ "GetK 00 cas 1 flags 7 key k body value" ]
    exchange "get, a miss" [ keyed BinaryOpcode.Get "no" ] [ "Get 01 body Not found" ]
    exchange "getk, a miss" [ keyed BinaryOpcode.GetK "no" ] [ "GetK 01 key no" ]
    exchange "quiet gets and a noop" [
        keyed BinaryOpcode.GetQ "k"
        keyed BinaryOpcode.GetQ "no"
        keyed BinaryOpcode.GetKQ "k"
        keyed BinaryOpcode.GetKQ "no"
        plain BinaryOpcode.Noop
    ] [ "GetQ 00 cas 1 flags 7 body value"; "GetKQ 00 cas 1 flags 7 key k body value"; "Noop 00" ]
    exchange "setq is silent, and errors are not" [
        stored BinaryOpcode.SetQ "q" 0u "1"
        withCas 900UL (stored BinaryOpcode.SetQ "k" 0u "x")
        keyed BinaryOpcode.Get "q"
    ] [ "SetQ 02 body Data exists for key."; "Get 00 cas 2 flags 0 body 1" ]
    exchange "set with the cas unique" [ withCas 1UL (stored BinaryOpcode.Set "k" 8u "new") ] [ "Set 00 cas 3" ]
    exchange "set with another" [ withCas 1UL (stored BinaryOpcode.Set "k" 0u "x") ] [
        "Set 02 body Data exists for key."
    ]
    exchange "set with one, and no key" [ withCas 1UL (stored BinaryOpcode.Set "no" 0u "x") ] [
        "Set 01 body Not found"
    ]
    exchange "add, a key there is" [ stored BinaryOpcode.Add "k" 0u "x" ] [ "Add 02 body Data exists for key." ]
    exchange "addq" [ stored BinaryOpcode.AddQ "k" 0u "x" ] [ "AddQ 02 body Data exists for key." ]
    exchange "add with a cas unique" [ withCas 1UL (stored BinaryOpcode.Add "no" 0u "x") ] [ "Add 01 body Not found" ]
    exchange "replace, no key" [ stored BinaryOpcode.Replace "no" 0u "x" ] [ "Replace 01 body Not found" ]
    exchange "replaceq, no key" [ stored BinaryOpcode.ReplaceQ "no" 0u "x" ] [ "ReplaceQ 01 body Not found" ]
    exchange "replace" [ stored BinaryOpcode.Replace "k" 9u "mid" ] [ "Replace 00 cas 4" ]
    exchange "append and prepend" [
        joined BinaryOpcode.Append "k" ">"
        joined BinaryOpcode.PrependQ "k" "<"
        keyed BinaryOpcode.Get "k"
    ] [ "Append 00 cas 5"; "Get 00 cas 6 flags 9 body <mid>" ]
    exchange "append, no key" [ joined BinaryOpcode.Append "no" "x" ] [ "Append 05 body Not stored." ]
    exchange "appendq, no key" [ joined BinaryOpcode.AppendQ "no" "x" ] [ "AppendQ 05 body Not stored." ]
    exchange "append with another cas unique" [ withCas 900UL (joined BinaryOpcode.Append "k" "x") ] [
        "Append 02 body Data exists for key."
    ]
    exchange "append with one, and no key" [ withCas 900UL (joined BinaryOpcode.Append "no" "x") ] [
        "Append 05 body Not stored."
    ]
    exchange "increment, creating or not" [
        counted BinaryOpcode.Increment "n" 1UL 5UL 0xFFFFFFFFu
        counted BinaryOpcode.Increment "n" 1UL 5UL 0u
        counted BinaryOpcode.IncrementQ "n" 10UL 5UL 0u
        counted BinaryOpcode.Decrement "n" 1UL 5UL 0u
        counted BinaryOpcode.Decrement "n" 100UL 5UL 0u
    ] [
        "Increment 01 body Not found"
        "Increment 00 cas 7 number 5"
        "Decrement 00 cas 8 number 14"
        "Decrement 00 cas 9 number 0"
    ]
    exchange "increment, over the end" [
        counted BinaryOpcode.Increment "n" UInt64.MaxValue 0UL 0u
        counted BinaryOpcode.Increment "n" 2UL 0UL 0u
    ] [ $"Increment 00 cas 10 number {UInt64.MaxValue}"; "Increment 00 cas 11 number 1" ]
    exchange "increment, quietly, no key" [ counted BinaryOpcode.IncrementQ "no" 1UL 0UL 0xFFFFFFFFu ] [
        "IncrementQ 01 body Not found"
    ]
    exchange "increment, no number" [ counted BinaryOpcode.Increment "k" 1UL 0UL 0u ] [
        "Increment 06 body Non-numeric server-side value for incr or decr"
    ]
    exchange "increment with another cas unique" [
        withCas 900UL (counted BinaryOpcode.Increment "n" 1UL 0UL 0u)
        withCas 900UL (counted BinaryOpcode.Increment "k" 1UL 0UL 0u)
    ] [ "Increment 02 body Data exists for key."; "Increment 02 body Data exists for key." ]
    exchange "increment with one, and no key" [ withCas 900UL (counted BinaryOpcode.Increment "n2" 1UL 3UL 0u) ] [
        "Increment 00 cas 12 number 3"
    ]
    exchange "touch" [ touched BinaryOpcode.Touch "k" 1000u ] [ "Touch 00 cas 6 flags 9" ]
    exchange "touch, no key" [ touched BinaryOpcode.Touch "no" 1000u ] [ "Touch 01 body Not found" ]
    exchange "gat" [
        touched BinaryOpcode.Gat "k" 1000u
        touched BinaryOpcode.GatQ "k" 1000u
        touched BinaryOpcode.GatQ "no" 1000u
        touched BinaryOpcode.GatK "k" 1000u
        touched BinaryOpcode.GatKQ "no" 1000u
        touched BinaryOpcode.GatK "no" 1000u
        touched BinaryOpcode.Gat "no" 1000u
    ] [
        "Gat 00 cas 6 flags 9 body <mid>"
        "GatQ 00 cas 6 flags 9 body <mid>"
        "GatK 00 cas 6 flags 9 key k body <mid>"
        "GatK 01 key no"
        "Gat 01 body Not found"
    ]
    exchange "an exptime has no sign" [
        request BinaryOpcode.Set "late" (Array.append (u32 0u) (u32 0xFFFFFFFFu)) "x"
        keyed BinaryOpcode.Get "late"
        request BinaryOpcode.Set "late" (Array.append (u32 0u) (u32 2592001u)) "x"
        keyed BinaryOpcode.Get "late"
        counted BinaryOpcode.Increment "late" 1UL 3UL 0xFFFFFFFEu
        keyed BinaryOpcode.Get "late"
    ] [
        "Set 00 cas 13"
        "Get 00 cas 13 flags 0 body x"
        "Set 00 cas 14"
        "Get 01 body Not found"
        "Increment 00 cas 15 number 3"
        "Get 00 cas 15 flags 0 body 3"
    ]
    exchange "a key of any bytes" [
        stored BinaryOpcode.SetQ "a b\r\n\000" 0u ""
        keyed BinaryOpcode.GetK "a b\r\n\000"
    ] [ "GetK 00 cas 16 flags 0 key a b\r\n\000" ]
    exchange "the longest key" [ keyed BinaryOpcode.Get (String('k', 250)) ] [ "Get 01 body Not found" ]
    exchange "delete" [
        keyed BinaryOpcode.Delete "no"
        withCas 900UL (keyed BinaryOpcode.Delete "k")
        withCas 6UL (keyed BinaryOpcode.Delete "k")
        keyed BinaryOpcode.DeleteQ "n"
        keyed BinaryOpcode.DeleteQ "n"
    ] [
        "Delete 01 body Not found"
        "Delete 02 body Data exists for key."
        "Delete 00"
        "DeleteQ 01 body Not found"
    ]
    exchange "a value that is too large removes the old one" [
        stored BinaryOpcode.SetQ "big" 0u "x"
        stored BinaryOpcode.SetQ "big" 0u (String('x', 1_048_577))
        keyed BinaryOpcode.Get "big"
        stored BinaryOpcode.SetQ "big" 0u "x"
        stored BinaryOpcode.Add "big" 0u (String('x', 1_048_577))
        joined BinaryOpcode.AppendQ "big" (String('x', 1_048_577))
        keyed BinaryOpcode.Get "big"
    ] [
        "SetQ 03 body Too large."
        "Get 01 body Not found"
        "Add 03 body Too large."
        "AppendQ 03 body Too large."
        "Get 00 cas 17 flags 0 body x"
    ]
    exchange "commands that there are not" [
        unknown 0x30uy
        unknown 0x1Buy
        unknown 0xFFuy
        plain BinaryOpcode.SaslMechanisms
        joined BinaryOpcode.SaslAuth "PLAIN" "\000u\000p"
    ] [
        "48 81 body Unknown command"
        "27 81 body Unknown command"
        "255 81 body Unknown command"
        "SaslMechanisms 81 body Unknown command"
        "SaslAuth 81 body Unknown command"
    ]
    exchange "stat, no topic" [ keyed BinaryOpcode.Stat "bogus" ] [ "Stat 01 body Not found" ]
    exchange "stat reset" [ keyed BinaryOpcode.Stat "reset" ] [ "Stat 00" ]
    exchange "flush" [ plain BinaryOpcode.Flush; plain BinaryOpcode.FlushQ; request BinaryOpcode.Flush "" (u32 0u) "" ] [
        "Flush 00"
        "Flush 00"
    ]
    closing "a key that is too long" [ keyed BinaryOpcode.GetQ (String('k', 251)) ] (invalid BinaryOpcode.GetQ)
    closing "no key" [ plain BinaryOpcode.Get ] (invalid BinaryOpcode.Get)
    closing "set without extras" [ joined BinaryOpcode.Set "k" "v" ] (invalid BinaryOpcode.Set)
    closing "get with a value" [ joined BinaryOpcode.Get "k" "v" ] (invalid BinaryOpcode.Get)
    closing "append with extras" [ request BinaryOpcode.Append "k" (u32 1u) "v" ] (invalid BinaryOpcode.Append)
    closing
        "increment with short extras"
        [ request BinaryOpcode.Increment "k" (u64 1UL) "" ]
        (invalid BinaryOpcode.Increment)
    closing "gat without extras" [ keyed BinaryOpcode.Gat "k" ] (invalid BinaryOpcode.Gat)
    closing "noop with a key" [ keyed BinaryOpcode.Noop "k" ] (invalid BinaryOpcode.Noop)
    closing "version with a key" [ keyed BinaryOpcode.Version "k" ] (invalid BinaryOpcode.Version)
    closing "flush with a key" [ keyed BinaryOpcode.Flush "k" ] (invalid BinaryOpcode.Flush)
    closing "flush with long extras" [ request BinaryOpcode.Flush "" (u64 1UL) "" ] (invalid BinaryOpcode.Flush)
    closing "quit with a key" [ keyed BinaryOpcode.Quit "k" ] (invalid BinaryOpcode.Quit)
    closing "stat with extras" [ request BinaryOpcode.Stat "reset" (u32 1u) "" ] (invalid BinaryOpcode.Stat)
    closing "no mechanism" [ plain BinaryOpcode.SaslAuth ] (invalid BinaryOpcode.SaslAuth)
    closing "quit" [ stored BinaryOpcode.SetQ "last" 0u "x"; plain BinaryOpcode.Quit ] [ "Quit 00" ]
    closing "quitq" [ plain BinaryOpcode.QuitQ ] []
    exchange "what was written before quit is there" [ keyed BinaryOpcode.Get "last" ] [
        "Get 00 cas 18 flags 0 body x"
    ]
]
