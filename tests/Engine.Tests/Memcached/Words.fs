/// The words that random requests of the text protocols are made of, good ones, ones at the boundaries of what is allowed, and wrong ones, and how
/// they become lines.
module LsmFs.Engine.Tests.Words

open System
open System.Collections.Generic
open LsmFs.Engine.Tests.Replies

/// The source of all choices. `IsOld`: the peer is older than 1.6.40.
type Choices = {
    Random: Random
    IsOld: bool
    Keys: string[]
    /// Whether a request may leave the connection out of step, or closed.
    IsWild: bool
    /// Keys whose values are asked for by requests that nothing awaited yet. memcached holds such a value until it is sent, and a number that
    /// is counted meanwhile does not get the blanks that keep its length, as it does otherwise.
    Retrieved: HashSet<string>
}

let pick (choices: Choices) (from: 'choice[]) : 'choice = from[choices.Random.Next from.Length]

/// Once in so many times.
let once (choices: Choices) (times: int) : bool = choices.Random.Next times = 0

let keysPlain = [| "a"; "b"; "c"; "d"; "e" |]

/// Keys that a server might stumble over; the last is too long.
let keysRare = [|
    String('k', 249)
    String('k', 250)
    "\001\127\255"
    "noreply"
    "a\rb"
    "set"
    "0"
    "%20"
    "\u00C3\u00A9"
|]

/// Keys of long values. No number is counted there: in place of a long value it leaves blanks of any length in memcached, here of up to 4,096.
let keysLong = [| "long"; "longer" |]

let keyTooLong = String('k', 251)

let keyOfNumber (choices: Choices) =
    if once choices 12 then
        pick choices keysRare
    else
        pick choices choices.Keys

let key (choices: Choices) =
    if once choices 15 then
        pick choices keysLong
    else
        keyOfNumber choices

let private flagsAll = [| "0"; "0"; "0"; "1"; "65535"; "65536"; "4294967295"; "007" |]

/// Times that are far away or past: whether one has come does not depend on the moment.
let private exptimesAll = [|
    "0"
    "0"
    "0"
    "0"
    "0"
    "1000"
    "100000"
    "2592000"
    "2592001"
    "2147483647"
    "-1"
    "-2147483648"
    "0000000000"
|]

// Out of step any word may be read as a length, and a long one would swallow the rest of the stream.
let flags (choices: Choices) = pick choices (if choices.IsWild then [| "0"; "1" |] else flagsAll)

let exptime (choices: Choices) =
    pick
        choices
        (if choices.IsWild then
             [| "0"; "0"; "1000"; "-1"; "-2147483648" |]
         else
             exptimesAll)

// No plus and no white space, which strtoul reads and LsmFs refuses; nothing of more than 32 bits, which memcached cuts; no lone minus, which is a 0 to it.
let numbersBad = [| "x"; "1x"; "--1"; "0x10"; "1.5"; "1\0011" |]

let private deltas = [|
    "0"
    "1"
    "1"
    "7"
    "10"
    "4294967296"
    "18446744073709551616"
    "99999999999999999999"
    "-1"
    "x"
    "1x"
    "01"
|]

/// An old peer refuses to count on from 2^63 when it finds a minus behind the number, be it in what another item left in memory.
let private deltasNew = [| "9223372036854775807"; "9223372036854775808"; "18446744073709551615" |]

let delta (choices: Choices) =
    pick
        choices
        (if not choices.IsOld && once choices 4 then
             deltasNew
         else
             deltas)

// None has a minus: memcached reads values with strtoull, which comes round to a small number far below zero. None is all blank: memcached reads past its
// end. Whatever two of them become when they are joined, an old peer does not meet a number of 2^63 or more.
let private numericValues = [|
    ""
    "0"
    "5"
    "9"
    "10"
    "99"
    "100"
    "007"
    " 3"
    "\t3"
    "+4"
    "5 x"
    "5x"
    "abc"
    "1e3"
    "0x10"
    "18446744073709551616"
    "8611686018427387904"
    "1\000"
    "1                                                              2"
|]

let private numericValuesNew = [| "18446744073709551615"; "9223372036854775807"; "9223372036854775808" |]

let private letters = [| 'x'; 'y'; '1'; ' '; '\r'; '\n'; '\000'; '\255' |]

let private telling = [| "END\r\n"; "VALUE a 0 1\r\nx\r\n"; "x\r\n"; "STORED\r\n"; "get a\r\n"; "HD c1\r\n" |]

let value (choices: Choices) : string =
    let random = choices.Random

    match random.Next 100 with
    | roll when roll < 6 && not choices.IsOld -> pick choices numericValuesNew
    | roll when roll < 50 -> pick choices numericValues
    | roll when roll < 90 -> "v" + String(Array.init (random.Next 40) (fun _ -> pick choices letters))
    | roll when roll < 93 -> pick choices telling
    | roll when roll < 97 -> String('v', random.Next(40, 300))
    | 97 -> String('9', random.Next((if choices.IsOld then 20 else 15), 40))
    // Out of step a value is a line, and one of more than 2,048 bytes may close the connection there, and always does here.
    | _ when choices.IsWild -> String('v', random.Next(20, 1000))
    | 98 -> String('v', random.Next(300, 5000))
    | _ when once choices 10 -> String('w', random.Next(10_000, 90_000))
    | _ -> String('v', random.Next(20, 100))

let private spaced (choices: Choices) (words: string list) : string =
    if once choices 12 then
        words |> List.map (fun word -> word + String(' ', choices.Random.Next(1, 4))) |> String.concat ""
    else
        String.concat " " words

let lineEnd (choices: Choices) : string = if once choices 15 then "\n" else "\r\n"

/// The words as a line.
let line (choices: Choices) (words: string list) : string = spaced choices words + lineEnd choices

let noreply (choices: Choices) : string list =
    match choices.Random.Next 40 with
    | roll when roll < 6 -> [ "noreply" ]
    | 6 -> [ "NOREPLY" ]
    | 7 -> [ "noreplyx" ]
    // An old peer counts the words.
    | 8 when not choices.IsOld -> [ "x"; "noreply" ]
    | 9 when not choices.IsOld -> [ "noreply"; "x" ]
    | _ -> []

/// Behind the words of a storage command; old peers count them.
let afterStorage (choices: Choices) : string list =
    if choices.IsOld then
        (if once choices 6 then [ "noreply" ] else [])
    else
        noreply choices

let unique (choices: Choices) : string =
    match choices.Random.Next 12 with
    | 0 -> "0"
    | 1 -> "1"
    | 2 -> "18446744073709551615"
    | 3 when not choices.IsOld -> pick choices [| "x"; "-1"; "18446744073709551616"; "1x"; "" |]
    | roll when roll < 9 -> casMark (choices.Random.Next 3)
    | _ -> casMark (choices.Random.Next 20)
