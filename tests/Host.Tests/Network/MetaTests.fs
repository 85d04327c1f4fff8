/// Meta commands through sockets and a store: what of an item is kept on disk, and what in memory.
module LsmFs.Host.Tests.MetaTests

open System
open System.Net
open Expecto
open Microsoft.Extensions.Logging.Abstractions
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests
open LsmFs.Host.Tests.Served

/// Serves the store of a folder for the time of a conversation.
let private serve (setting: Setting) (folder: string) (flushes: bool) (conversation: Client -> unit) =
    use store =
        Store.Open(StoreOptions(DataFolder = folder, Durability = setting.Durability), NullLogger.Instance)

    let server = start { setting with ThreadCount = 1; ConnectionCountMax = 10 } unrestricted store

    use client = new Client(server.EndPoints[0].Port)
    conversation client
    server.StopAsync().Wait()

    if flushes then
        store.Flush()

let private marksSurvive (setting: Setting) =
    for flushes in [ true; false ] do
        Folders.withFolder (fun folder ->
            serve setting folder flushes (fun client ->
                client.Expect(
                    "ms stale 1\r\n1\r\nmd stale I\r\nms won 1\r\n1\r\nmd won I\r\nmg won\r\nms fresh 1\r\n1\r\nmd fresh I\r\nms fresh 1\r\n2\r\nmg viv N0\r\n"
                    + "ms Zm9v 1 b\r\n1\r\nms own 1 E1000\r\n1\r\nms own 1 C1 I\r\n2\r\n",
                    "HD\r\nHD\r\nHD\r\nHD\r\nHD X W\r\nHD\r\nHD\r\nHD\r\nHD W\r\nHD\r\nHD\r\nHD\r\n"
                ))

            serve setting folder flushes (fun client ->
                client.Expect(
                    "mg stale v\r\nmg stale\r\nmg won\r\nmg fresh v\r\nmg viv\r\nmg foo k\r\nmg own\r\nmg own v\r\n",
                    "VA 1 X W\r\n1\r\nHD Z X\r\nHD Z X\r\nVA 1\r\n2\r\nHD Z\r\nHD kZm9v b\r\nHD X W\r\nVA 1 Z X\r\n2\r\n"
                ))

            // Once more from tables alone: the marks that were set in between.
            serve setting folder flushes (fun client ->
                client.Expect("mg stale\r\nmg own\r\n", "HD Z X\r\nHD Z X\r\n")))

let private accessIsForgotten (setting: Setting) =
    Folders.withFolder (fun folder ->
        serve setting folder true (fun client ->
            client.Expect(
                "set a 0 0 1\r\n1\r\nmg a h u\r\nget a\r\nmg a h u\r\nmg a h l\r\n",
                "STORED\r\nHD h0\r\nVALUE a 0 1\r\n1\r\nEND\r\nHD h1\r\nHD h1 l0\r\n"
            ))

        serve setting folder true (fun client ->
            client.Expect("mg a h u\r\nmg a h\r\nmg a h\r\n", "HD h0\r\nHD h0\r\nHD h1\r\n")))

let private largeValues (setting: Setting) =
    use served = new Served(setting)
    use client = new Client(served.Port)
    let value = String('v', 1_000_000)
    client.Expect($"ms big 1000000\r\n%s{value}\r\n", "HD\r\n")
    let reply = $"VA 1000000 kbig\r\n%s{value}\r\n"
    client.Send "mg big v k\r\nmg big v k T0\r\nmg big k\r\nmn\r\n"
    Expect.equal (text (client.Receive reply.Length)) reply "as a read"
    Expect.equal (text (client.Receive reply.Length)) reply "as a write"
    Expect.equal (text (client.Receive 13)) "HD kbig\r\nMN\r\n" "what follows"

[<Tests>]
let tests =
    testSequenced
    <| testList "Meta" [
        everywhere "stale items, win tokens and keys in base64 survive a restart" marksSurvive
        onTransports "the last access does not survive a restart" accessIsForgotten
        everywhere "large values come whole" largeValues
    ]
