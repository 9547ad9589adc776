-- Wireshark dissector for the classic profile of vpn (vpn/PROTOCOL.md, section 3).
--
--   tshark -X lua_script:contrib/wireshark/vpn.lua -r session.pcapng
--   tshark -X lua_script:contrib/wireshark/vpn.lua -o vpn.keylog:keys.log -r session.pcapng
--
-- To install it, copy it to the folder of personal Lua plugins (see Help > About Wireshark).
-- It names every message. With a key log (`--keylog` of server or client) it decrypts them too, with
-- the ciphers of Wireshark 4.2 and later, or with the Lua module luaossl (Debian: lua-luaossl).

local vpn = Proto("vpn", "VPN classic profile")

local PORT = 4600
local TAG = 64 -- hexadecimal digits of an HMAC
local HANDSHAKE_LIMIT = 4096
local MESSAGE_LIMIT = 65536 + TAG
local TAIL = 40 -- digits of a public value that identify a session in a key log
local PREFIX = "Server says: "

-- Decimal digits of the primes of RFC 3526, groups 14 to 18. A number without a line end is
-- complete if it has about as many digits.
local GROUP_DIGITS = { 617, 925, 1234, 1850, 2467 }

local REFUSALS = {
    "Could not agree on a cipher", "Bad HMAC", "Too many sessions", "Expected ", "The derived key cannot be used",
}

vpn.prefs.keylog = Pref.string("Key log", "", "File with the keys of sessions, as --keylog writes it")

local f = {
    kind = ProtoField.string("vpn.message", "Message"),
    from = ProtoField.string("vpn.from", "From"),
    number = ProtoField.uint32("vpn.number", "Number"),
    words = ProtoField.string("vpn.words", "Text"),
    offer = ProtoField.string("vpn.offer", "Cipher on offer"),
    cipher = ProtoField.string("vpn.cipher", "Cipher"),
    bits = ProtoField.uint32("vpn.bits", "Key size in bits"),
    separator = ProtoField.string("vpn.separator", "Separator"),
    line_end = ProtoField.string("vpn.line_end", "Line end"),
    value = ProtoField.string("vpn.public_value", "Public value"),
    digits = ProtoField.uint32("vpn.digits", "Digits"),
    ciphertext = ProtoField.bytes("vpn.ciphertext", "Ciphertext"),
    tag = ProtoField.string("vpn.hmac", "HMAC"),
    text = ProtoField.string("vpn.text", "Decrypted text"),
    reply = ProtoField.string("vpn.reply", "Reply"),
    filling = ProtoField.uint32("vpn.filling", "Bytes of prefix and filling"),
}
vpn.fields = { f.kind, f.from, f.number, f.words, f.offer, f.cipher, f.bits, f.separator, f.line_end, f.value, f.digits,
    f.ciphertext, f.tag, f.text, f.reply, f.filling }

local x = {
    unexpected = ProtoExpert.new("vpn.unexpected", "Not what comes next here", expert.group.PROTOCOL, expert.severity.WARN),
    no_key = ProtoExpert.new("vpn.no_key", "Not decrypted", expert.group.DECRYPTION, expert.severity.NOTE),
    in_clear = ProtoExpert.new("vpn.in_clear", "The reply is in the clear", expert.group.SECURITY, expert.severity.NOTE),
}
vpn.experts = { x.unexpected, x.no_key, x.in_clear }

local tcp_stream = Field.new("tcp.stream")

-- Ciphers -----------------------------------------------------------------------------------------

local function unhex(text)
    return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function tohex(bytes)
    return (bytes:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end

-- A key in the form for a library. DES gets the zero byte that the profile appends. Two or one keys of
-- triple DES become three.
local function library_key(suite, key)
    if suite == "DES" then
        key = key .. "\0"
        return key .. key .. key
    elseif suite == "DES3" and #key == 16 then
        return key .. key:sub(1, 8)
    end
    return key
end

local crypto = nil -- function(suite, key, iv, ciphertext) -> plaintext, or nil and why

if GcryptCipher then
    crypto = function(suite, key, iv, ciphertext)
        local algorithms = {
            AES = ({ [16] = GCRY_CIPHER_AES128, [24] = GCRY_CIPHER_AES192, [32] = GCRY_CIPHER_AES256 })[#key],
            DES = GCRY_CIPHER_3DES,
            DES3 = GCRY_CIPHER_3DES,
            Blowfish = GCRY_CIPHER_BLOWFISH,
        }
        if not algorithms[suite] then return nil, "no cipher " .. suite .. " here" end
        local cipher = GcryptCipher.open(algorithms[suite], GCRY_CIPHER_MODE_CBC, 0)
        -- With three equal keys, triple DES is single DES.
        if GCRYCTL_SET_ALLOW_WEAK_KEY then
            pcall(function() cipher:ctl(GCRYCTL_SET_ALLOW_WEAK_KEY, ByteArray.new("01")) end)
        end
        cipher:setkey(ByteArray.new(library_key(suite, key), true))
        cipher:setiv(ByteArray.new(iv, true))
        return cipher:decrypt(nil, ByteArray.new(ciphertext, true)):raw()
    end
else
    local found, openssl = pcall(require, "openssl.cipher")
    if found then
        crypto = function(suite, key, iv, ciphertext)
            local names = { AES = "aes-" .. #key * 8 .. "-cbc", DES = "des-ede3-cbc", DES3 = "des-ede3-cbc" }
            if not names[suite] then return nil, "no cipher " .. suite .. " before Wireshark 4.2" end
            local cipher = openssl.new(names[suite]):decrypt(library_key(suite, key), iv, false)
            return cipher:final(ciphertext)
        end
    end
end

local function decrypt(suite, key, iv, ciphertext)
    if not crypto then return nil, "neither Wireshark 4.2 nor the Lua module luaossl is here" end
    if #ciphertext == 0 then return "" end
    local ok, plaintext, why = pcall(crypto, suite, key, iv, ciphertext)
    if not ok then return nil, "the cipher failed: " .. tostring(plaintext) end
    return plaintext, why
end

-- Key log -----------------------------------------------------------------------------------------

local keys = {} -- index: the last digits of both public values
local keylog_problem = nil

local function load_keylog()
    keys, keylog_problem = {}, nil
    if vpn.prefs.keylog == "" then return end
    local file, why = io.open(vpn.prefs.keylog, "r")
    if not file then
        keylog_problem = "the key log cannot be read: " .. tostring(why)
        return
    end
    for line in file:lines() do
        local client, server, suite, bits, cbc, key, iv =
            line:match("^CLASSIC (%d+) (%d+) (%S+) (%d+) (%a+) (%x+) (%x+)%s*$")
        if client and #key % 2 == 0 and #iv % 2 == 0 then
            keys[client .. "/" .. server] =
                { suite = suite, bits = tonumber(bits), cbc = cbc, key = unhex(key), iv = unhex(iv) }
        end
    end
    file:close()
end

-- Sessions ----------------------------------------------------------------------------------------

local sessions = {} -- index: TCP stream
local seen = {} -- the messages of each frame, for when it is shown again

function vpn.init()
    sessions, seen = {}, {}
    load_keylog()
end

local function tail(digits) return digits:sub(-TAIL) end

local function starts(data, words) return data:sub(1, #words) == words end

local function is_refusal(data)
    for _, words in ipairs(REFUSALS) do
        if starts(data, words) then return true end
    end
    return false
end

-- Finds a line end. Returns the length with it, the length without it, and its name.
local function line(data)
    local at = data:find("\n", 1, true)
    if not at then return nil end
    if data:sub(at - 1, at - 1) == "\r" then return at, at - 2, "CR LF" end
    return at, at - 1, "LF"
end

-- Each of these gets the bytes of one direction from the start of a message on, and returns the
-- message: a table with at least `kind` and `length`. Nil asks for more bytes.

local function read_words(kind, data, limit)
    local length, text, line_end = line(data)
    if not length then length, text, line_end = #data, #data, "none" end
    if length > limit then return { kind = "Unexpected", length = #data, problem = "too long" } end
    return { kind = kind, length = length, words = data:sub(1, text), line_end = line_end }
end

local function read_late_line_end(data)
    local ends = data:match("^\r?\n")
    if ends then return { kind = "Line end", length = #ends } end
end

local function read_unexpected(data, problem)
    return { kind = "Unexpected", length = #data, problem = problem }
end

local function read_proposal(data)
    local head = "ProposedCiphers:"
    if not starts(data, head:sub(1, #data)) then return read_unexpected(data, "not a proposal") end
    if not line(data) and data:sub(-1) ~= "]" and #data <= HANDSHAKE_LIMIT then return nil end
    local message = read_words("Proposal", data, HANDSHAKE_LIMIT)
    if message.words then
        message.offers = {}
        for offer in message.words:sub(#head + 1):gmatch("[^%[%]]+%[[^%]]*%]") do
            table.insert(message.offers, (offer:gsub("^[, ]+", "")))
        end
    end
    return message
end

local function read_choice(data)
    local head = "ChosenCipher:"
    if not starts(data, head:sub(1, #data)) then return read_words("Refusal", data, HANDSHAKE_LIMIT) end
    if not line(data) and not data:find("%d%s*$") and #data <= HANDSHAKE_LIMIT then return nil end
    local message = read_words("Choice", data, HANDSHAKE_LIMIT)
    if message.words then
        local name, separator, bits = message.words:match("^ChosenCipher: *([^:, ]+) *([:,]) *(%d+) *$")
        message.cipher, message.separator, message.bits = name, separator, tonumber(bits)
    end
    return message
end

local function is_whole_number(digits)
    for _, whole in ipairs(GROUP_DIGITS) do
        -- One number in a thousand has three digits less. Then the next segment decides.
        if #digits <= whole and #digits > whole - 4 then return true end
    end
    return false
end

local function read_share(data, from)
    local head = "DHMKE:"
    if not starts(data, head:sub(1, #data)) then
        if from == "server" then return read_words("Refusal", data, HANDSHAKE_LIMIT) end
        return read_unexpected(data, "not a public value")
    end
    local blanks, digits = data:match("^DHMKE:( *)(%d*)")
    if not digits then return nil end
    local length = #head + #blanks + #digits
    local line_end = data:match("^\r?\n", length + 1)
    if not line_end and length == #data and not is_whole_number(digits) and length <= HANDSHAKE_LIMIT then
        return nil
    end
    if digits == "" then return read_unexpected(data, "no number") end
    local names = { ["\n"] = "LF", ["\r\n"] = "CR LF" }
    return {
        kind = "Public value", length = length + #(line_end or ""), digits = digits,
        line_end = line_end and names[line_end] or "none",
    }
end

-- A message ends with its HMAC: 64 lower-case hexadecimal digits at a block boundary. The dissector
-- does not verify it; so many digits do not occur by chance.
local function read_message(data, block)
    for at = 0, math.min(#data - TAG, MESSAGE_LIMIT), block do
        if data:find("^" .. string.rep("[0-9a-f]", 16), at + 1) then
            local tag = data:sub(at + 1, at + TAG)
            if #tag == TAG and not tag:find("[^0-9a-f]") then
                return { kind = "Message", length = at + TAG, ciphertext = data:sub(1, at), tag = tag }
            end
        end
    end
    if #data > MESSAGE_LIMIT then return read_unexpected(data, "no HMAC") end
    return nil
end

local function read_reply(data)
    if is_refusal(data) then return read_words("Refusal", data, HANDSHAKE_LIMIT) end
    local text = data:gsub("%z+$", "")
    if starts(text, PREFIX) then text = text:sub(#PREFIX + 1) end
    return { kind = "Reply", length = #data, reply = text, filling = #data - #text }
end

local function read_next(session, from, data)
    local late = session.proposal and read_late_line_end(data)
    if from == "client" then
        if not session.proposal then return read_proposal(data) end
        if late and not (session.shares.client and #data > #"\r\n") then return late end
        if not session.shares.client then return read_share(data, from) end
        return read_message(data, session.block)
    end
    if not session.choice then return read_choice(data) end
    if late and #data == late.length then return late end
    if not session.shares.server then return read_share(data, from) end
    return read_reply(data)
end

local function strip(text) return (text:gsub("^%z+", ""):gsub("%z+$", "")) end

local function open_message(session, message)
    local entry = session.keys
    if not entry then
        if vpn.prefs.keylog == "" then return end
        message.problem = keylog_problem or "the key log does not have this session"
        return
    end
    local iv = entry.cbc == "restart" and entry.iv or session.chain or entry.iv
    local plaintext, why = decrypt(entry.suite, entry.key, iv, message.ciphertext)
    if #message.ciphertext >= #entry.iv then session.chain = message.ciphertext:sub(-#entry.iv) end
    if plaintext then message.text = strip(plaintext) else message.problem = why end
end

-- Adds a message to the session. It is called once for each message, in order.
local function take(session, from, message)
    message.from = from
    if message.kind == "Proposal" then
        session.proposal = true
    elseif message.kind == "Choice" then
        session.choice = true
    elseif message.kind == "Public value" then
        session.shares[from] = message.digits
        if session.shares.client and session.shares.server then
            session.keys = keys[tail(session.shares.client) .. "/" .. tail(session.shares.server)]
            if session.keys then session.block = #session.keys.iv end
        end
    elseif message.kind == "Message" then
        session.messages = session.messages + 1
        message.number = session.messages
        open_message(session, message)
    elseif message.kind == "Reply" then
        message.number = session.messages
    end
end

-- Showing -----------------------------------------------------------------------------------------

-- A text with control characters and bytes that are not UTF-8 written as \xNN.
local function clean(text)
    local function escape(bytes)
        return (bytes:gsub(".", function(c) return string.format("\\x%02x", c:byte()) end))
    end
    local shown, at = {}, 1
    while at <= #text do
        local char = text:match("^[ -~]+", at)
            or text:match("^[\194-\223][\128-\191]", at)
            or text:match("^[\224-\239][\128-\191][\128-\191]", at)
            or text:match("^[\240-\244][\128-\191][\128-\191][\128-\191]", at)
        if not char then
            char = text:sub(at, at)
            table.insert(shown, escape(char))
        elseif char:find("^\194[\128-\159]") then
            table.insert(shown, escape(char)) -- C1 control characters
        else
            table.insert(shown, char)
        end
        at = at + #char
    end
    return table.concat(shown)
end

local function label(message)
    local numbered = message.number and (" " .. message.number) or ""
    local owner = message.kind == "Public value" and (" (" .. message.from .. ")") or ""
    return message.kind .. numbered .. owner
end

local function summary(message)
    local more = message.text or message.reply or message.words
    if message.kind == "Public value" then more = #message.digits .. " digits" end
    if message.kind == "Message" and not message.text then more = #message.ciphertext .. " bytes of ciphertext" end
    return label(message) .. (more and (": " .. clean(more)) or "")
end

local function show(message, range, tree)
    local item = tree:add(vpn, range, "VPN classic profile, " .. label(message))
    item:add(f.kind, range, label(message))
    if message.from then item:add(f.from, message.from):set_generated() end
    if message.number then item:add(f.number, message.number):set_generated() end
    if message.words then item:add(f.words, range, clean(message.words)) end
    for _, offer in ipairs(message.offers or {}) do item:add(f.offer, range, clean(offer)) end
    if message.cipher then
        item:add(f.cipher, range, clean(message.cipher))
        item:add(f.bits, range, message.bits)
        item:add(f.separator, range, message.separator)
    end
    if message.digits then
        local digits = message.digits
        local shown = #digits > 30 and (digits:sub(1, 12) .. "..." .. digits:sub(-12)) or digits
        item:add(f.value, range, shown)
        item:add(f.digits, #digits):set_generated()
    end
    if message.line_end then item:add(f.line_end, message.line_end):set_generated() end
    if message.ciphertext then
        local cut = #message.ciphertext
        if cut > 0 then item:add(f.ciphertext, range(0, cut)) end
        item:add(f.tag, range(cut, TAG), message.tag)
    end
    if message.text then
        local shown = ByteArray.new(tohex(message.text)):tvb("Decrypted text")
        local where = #message.text > 0 and shown() or range
        item:add(f.text, where, clean(message.text)):set_generated()
    end
    if message.reply then
        item:add(f.reply, range, clean(message.reply))
        if message.filling > 0 then item:add(f.filling, message.filling):set_generated() end
        item:add_proto_expert_info(x.in_clear)
    end
    if message.kind == "Unexpected" then
        item:add_proto_expert_info(x.unexpected, message.problem)
    elseif message.problem then
        item:add_proto_expert_info(x.no_key, message.problem)
    end
end

-- Dissection --------------------------------------------------------------------------------------

local function endpoint(address, port) return tostring(address) .. " " .. tostring(port) end

local function session_of(pinfo)
    local stream = tcp_stream()
    local key = stream and tostring(stream) or "?"
    local session = sessions[key]
    if not session then
        session = { shares = {}, messages = 0, block = 8 }
        sessions[key] = session
    end
    return session
end

-- The sender of a packet. The client sends the proposal. Before that, it is the side without the port.
local function sender(session, pinfo, data)
    local source = endpoint(pinfo.src, pinfo.src_port)
    if not session.client then
        if starts(data, "ProposedCiphers:") or pinfo.src_port ~= PORT then
            session.client = source
        else
            session.client = endpoint(pinfo.dst, pinfo.dst_port)
        end
    end
    return source == session.client and "client" or "server"
end

-- Returns all messages in these bytes, and whether the last one needs more bytes.
local function read_all(pinfo, data)
    local session = session_of(pinfo)
    local from = sender(session, pinfo, data)
    local messages, at = {}, 1
    while at <= #data do
        local rest = data:sub(at)
        local message = read_next(session, from, rest)
        if not message then return messages, at - 1 end
        take(session, from, message)
        message.at = at - 1
        table.insert(messages, message)
        at = at + message.length
    end
    return messages, nil
end

function vpn.dissector(tvb, pinfo, tree)
    local length = tvb:len()
    if length == 0 or length ~= tvb:reported_len() then return 0 end
    local data = tvb:raw()
    -- A frame can have the end of one message and the beginning of others, with one call for each part.
    local key = pinfo.number .. ":" .. data
    local known = seen[key]
    if not known then
        local messages, incomplete = read_all(pinfo, data)
        known = { messages = messages, incomplete = incomplete }
        seen[key] = known
    end
    pinfo.cols.protocol = "VPN"
    local infos = {}
    for _, message in ipairs(known.messages) do
        show(message, tvb(message.at, message.length), tree)
        table.insert(infos, summary(message))
    end
    if #infos > 0 then pinfo.cols.info = table.concat(infos, ", ") end
    if known.incomplete then
        pinfo.desegment_offset = known.incomplete
        pinfo.desegment_len = DESEGMENT_ONE_MORE_SEGMENT
    end
    return length
end

DissectorTable.get("tcp.port"):add(PORT, vpn)

-- A session on another port is recognised by its first bytes.
vpn:register_heuristic("tcp", function(tvb, pinfo, tree)
    if tvb:len() < 17 or not starts(tvb:raw(0, 16), "ProposedCiphers:") then return false end
    pinfo.conversation = vpn
    vpn.dissector(tvb, pinfo, tree)
    return true
end)
