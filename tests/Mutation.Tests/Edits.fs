/// Changes of compiled code. Each answers in how many places it was made, so that a change that finds nothing to change is noticed.
module LsmFs.Mutation.Tests.Edits

open Mono.Cecil
open Mono.Cecil.Cil
open Mono.Cecil.Rocks

/// Changes an assembly; the number of places.
type Edit = ModuleDefinition -> int

/// The methods of this name in the types of this name, whatever is nested or overloaded.
let private methodsOf (assembly: ModuleDefinition) (typeName: string) (methodName: string) : MethodDefinition list = [
    for candidate in assembly.GetTypes() do
        if candidate.Name = typeName then
            for method in candidate.Methods do
                if method.Name = methodName && method.HasBody then
                    method
]

/// Changes the body of a method with long branches, so that instructions may be put in.
let private within (typeName: string) (methodName: string) (change: MethodBody -> int) : Edit =
    fun assembly ->
        methodsOf assembly typeName methodName
        |> List.sumBy (fun method ->
            method.Body.SimplifyMacros()
            let count = change method.Body
            method.Body.OptimizeMacros()
            count)

/// Whether an instruction calls a method, or reads a field, of this name.
let private isUse (typeName: string) (memberName: string) (instruction: Instruction) : bool =
    match instruction.OpCode.Code, instruction.Operand with
    | (Code.Call | Code.Callvirt | Code.Ldfld), (:? MemberReference as used) ->
        used.Name = memberName && used.DeclaringType.Name = typeName
    | _ -> false

/// Which of several places.
type Which =
    | All
    | First
    | Last

let private uses (which: Which) (typeName: string) (memberName: string) (body: MethodBody) : Instruction list =
    let found = body.Instructions |> Seq.filter (isUse typeName memberName) |> List.ofSeq

    match which with
    | All -> found
    | First -> List.truncate 1 found
    | Last -> List.skip (max 0 (found.Length - 1)) found

/// Puts instructions in the place of one. Branches to it go to the first of them.
let private replace
    (body: MethodBody)
    (instruction: Instruction)
    (first: Instruction)
    (others: Instruction list)
    : unit =
    let il = body.GetILProcessor()
    instruction.OpCode <- first.OpCode
    instruction.Operand <- first.Operand
    let mutable last = instruction

    for other in others do
        il.InsertAfter(last, other)
        last <- other

/// How many values an instruction takes from the stack, and what it leaves there.
let private shape (instruction: Instruction) : struct (int * TypeReference) =
    match instruction.Operand with
    | :? MethodReference as callee ->
        struct (callee.Parameters.Count + (if callee.HasThis then 1 else 0), callee.ReturnType)
    | :? FieldReference as field -> struct (1, field.FieldType)
    | _ -> invalidArg (nameof instruction) $"{instruction} is neither a call nor a read"

let private pops (count: int) : Instruction list = List.init count (fun _ -> Instruction.Create OpCodes.Pop)

/// Calls are left out; what they would have answered is 0, false, null or empty. The same for reads of a field.
let drops (which: Which) (typeName: string) (methodName: string) (calleeType: string) (callee: string) : Edit =
    within typeName methodName (fun body ->
        let found = uses which calleeType callee body

        for call in found do
            let struct (count, result) = shape call

            let value = [
                if result.MetadataType <> MetadataType.Void then
                    // Nothing is ever stored in it.
                    let empty = VariableDefinition result
                    body.Variables.Add empty
                    body.InitLocals <- true
                    Instruction.Create(OpCodes.Ldloc, empty)
            ]

            match pops count @ value with
            | first :: others -> replace body call first others
            | [] -> replace body call (Instruction.Create OpCodes.Nop) []

        found.Length)

/// A method answers a number or a truth without looking.
let answers (typeName: string) (methodName: string) (value: int) : Edit =
    fun assembly ->
        let found = methodsOf assembly typeName methodName

        for method in found do
            method.Body <- MethodBody method
            let il = method.Body.GetILProcessor()
            il.Emit(OpCodes.Ldc_I4, value)
            il.Emit OpCodes.Ret

        found.Length

/// A method does nothing.
let doesNothing (typeName: string) (methodName: string) : Edit =
    fun assembly ->
        let found =
            methodsOf assembly typeName methodName
            |> List.filter (fun method -> method.ReturnType.MetadataType = MetadataType.Void)

        for method in found do
            method.Body <- MethodBody method
            method.Body.GetILProcessor().Emit OpCodes.Ret

        found.Length

/// A method that is given something to do once it may be done does it at once: `position` is that of the argument, `this` not counted.
let invokesAtOnce (typeName: string) (methodName: string) (position: int) : Edit =
    fun assembly ->
        let found = methodsOf assembly typeName methodName

        for method in found do
            let invoke =
                method.Parameters[position].ParameterType.Resolve().Methods
                |> Seq.find (fun other -> other.Name = "Invoke")

            method.Body <- MethodBody method
            let il = method.Body.GetILProcessor()
            il.Emit(OpCodes.Ldarg, method.Parameters[position])
            il.Emit(OpCodes.Callvirt, assembly.ImportReference invoke)
            il.Emit OpCodes.Ret

        found.Length

/// Another method of the same shape is called.
let callsInstead
    (which: Which)
    (typeName: string)
    (methodName: string)
    (calleeType: string)
    (callee: string)
    (instead: string)
    : Edit =
    fun assembly ->
        within
            typeName
            methodName
            (fun body ->
                let found = uses which calleeType callee body

                for call in found do
                    let target = (call.Operand :?> MethodReference).Resolve()
                    let other = target.DeclaringType.Methods |> Seq.find (fun other -> other.Name = instead)
                    call.Operand <- assembly.ImportReference other

                found.Length)
            assembly

/// The argument of this type that came last takes the place of the result: the function has no effect on it.
let passesThrough (typeName: string) (methodName: string) (calleeType: string) (callee: string) : Edit =
    within typeName methodName (fun body ->
        let found = uses All calleeType callee body

        for call in found do
            let struct (count, result) = shape call
            let kept = VariableDefinition result
            body.Variables.Add kept
            body.InitLocals <- true

            replace
                body
                call
                (Instruction.Create(OpCodes.Stloc, kept))
                (pops (count - 1) @ [ Instruction.Create(OpCodes.Ldloc, kept) ])

        found.Length)

/// After a call, the next comparison for equality finds what it compares equal.
let takesAsEqual (typeName: string) (methodName: string) (calleeType: string) (callee: string) : Edit =
    within typeName methodName (fun body ->
        let comparisons = [
            for call in uses All calleeType callee body do
                let rec next (instruction: Instruction | null) =
                    match instruction with
                    | null -> None
                    | instruction when instruction.OpCode = OpCodes.Bne_Un || instruction.OpCode = OpCodes.Beq ->
                        Some instruction
                    | instruction -> next instruction.Next

                match next call.Next with
                | Some comparison -> comparison
                | None -> ()
        ]

        let found = List.distinct comparisons

        for comparison in found do
            let target = comparison.Operand

            let goOn =
                if comparison.OpCode = OpCodes.Beq then
                    [ Instruction.Create(OpCodes.Br, target :?> Instruction) ]
                else
                    []

            replace body comparison (Instruction.Create OpCodes.Pop) (Instruction.Create OpCodes.Pop :: goOn)

        found.Length)

/// One instruction for another without an operand.
let turns (typeName: string) (methodName: string) (from: OpCode list) (into: OpCode list) : Edit =
    within typeName methodName (fun body ->
        let pairs = dict (List.zip from into)

        let found =
            body.Instructions
            |> Seq.filter (fun instruction -> pairs.ContainsKey instruction.OpCode)
            |> List.ofSeq

        for instruction in found do
            instruction.OpCode <- pairs[instruction.OpCode]

        found.Length)

/// What a call answers, or a field holds, is halved.
let halves (typeName: string) (methodName: string) (calleeType: string) (callee: string) : Edit =
    within typeName methodName (fun body ->
        let found = uses All calleeType callee body
        let il = body.GetILProcessor()

        for call in found do
            il.InsertAfter(call, Instruction.Create OpCodes.Div)
            il.InsertAfter(call, Instruction.Create(OpCodes.Ldc_I4, 2))

        found.Length)

/// A method with a 64-bit argument answers 0 for one in eight of its values.
let deniesEighth (typeName: string) (methodName: string) (position: int) : Edit =
    within typeName methodName (fun body ->
        let il = body.GetILProcessor()
        let start = body.Instructions[0]
        let argument = body.Method.Parameters[position]

        for instruction in
            [
                Instruction.Create(OpCodes.Ldarg, argument)
                Instruction.Create(OpCodes.Ldc_I8, 7L)
                Instruction.Create OpCodes.And
                Instruction.Create(OpCodes.Brtrue, start)
                Instruction.Create(OpCodes.Ldc_I4, 0)
                Instruction.Create OpCodes.Ret
            ] do
            il.InsertBefore(start, instruction)

        1)

/// The first time that a method reads an argument, it is 0.
let losesArgument (typeName: string) (methodName: string) (argument: string) : Edit =
    within typeName methodName (fun body ->
        let found =
            body.Instructions
            |> Seq.tryFind (fun instruction ->
                match instruction.Operand with
                | :? ParameterDefinition as parameter -> parameter.Name = argument
                | _ -> false)

        match found with
        | Some load ->
            replace body load (Instruction.Create(OpCodes.Ldc_I8, 0L)) []
            1
        | None -> 0)

/// The instructions that lead from an empty stack to a call, the call included. Only fields and calls on this object are understood.
let private statementOf (call: Instruction) : Instruction list =
    let rec back (wanted: int) (instruction: Instruction) (statement: Instruction list) =
        if wanted = 0 then
            statement
        else
            let previous = instruction.Previous
            let statement = previous :: statement

            match previous.OpCode.Code with
            | Code.Ldarg -> back (wanted - 1) previous statement
            | Code.Ldfld
            | Code.Call
            | Code.Callvirt ->
                let struct (count, _) = shape previous
                back (wanted - 1 + count) previous statement
            | other -> failwith $"a statement with {other} is not understood"

    let struct (count, _) = shape call
    back count call [ call ]

/// Where in a method a statement is put.
type Place =
    | AtStart
    /// Before the statement that calls a method with these many instructions for its arguments.
    | Before of typeName: string * methodName: string * argumentInstructions: int

/// The last statement of a method that calls another one is carried out earlier as well.
let repeatsEarlier (typeName: string) (methodName: string) (calleeType: string) (callee: string) (place: Place) : Edit =
    within typeName methodName (fun body ->
        let il = body.GetILProcessor()

        let start =
            match place with
            | AtStart -> Some body.Instructions[0]
            | Before(otherType, other, count) ->
                uses First otherType other body
                |> List.tryHead
                |> Option.map (fun call ->
                    let mutable start = call

                    for _ in 1..count do
                        start <- start.Previous

                    start)

        match uses Last calleeType callee body, start with
        | [ call ], Some start ->
            for instruction in statementOf call do
                let copy =
                    match instruction.Operand with
                    | :? FieldReference as field -> Instruction.Create(instruction.OpCode, field)
                    | :? MethodReference as callee -> Instruction.Create(instruction.OpCode, callee)
                    | :? ParameterDefinition as parameter -> Instruction.Create(instruction.OpCode, parameter)
                    | _ -> Instruction.Create instruction.OpCode

                il.InsertBefore(start, copy)

            1
        | _ -> 0)

/// Several edits that belong together: each must find its place.
let together (edits: Edit list) : Edit =
    fun assembly ->
        let counts = edits |> List.map (fun edit -> edit assembly)
        if List.contains 0 counts then 0 else List.sum counts
