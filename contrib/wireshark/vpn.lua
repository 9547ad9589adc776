-- Wireshark dissector for vpn (vpn/PROTOCOL.md): the classic profile (section 3) and the sealed profile (section 4).
--
--   tshark -X lua_script:contrib/wireshark/vpn.lua -r session.pcapng
--   tshark -X lua_script:contrib/wireshark/vpn.lua -o vpn.keylog:keys.log -r session.pcapng
--
-- To install it, copy it to the folder of personal Lua plugins (see Help > About Wireshark).
-- It names every message. With a key log (`--keylog` of server or client) it decrypts them too, with
-- the ciphers of Wireshark 4.2 and later, or with the Lua module luaossl (Debian: lua-luaossl).
-- Of a decrypted record of the sealed profile it shows the type, and all fields of a frame of channels.

local vpn = Proto("vpn", "VPN")
-- One decrypted record alone, for captures that have nothing else.
local vpn_record = Proto("vpn_record", "VPN sealed profile, decrypted record")

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
    random = ProtoField.bytes("vpn.client_random", "Client random"),
    record_type = ProtoField.uint8("vpn.record.type", "Record type", base.HEX),
    record_length = ProtoField.uint16("vpn.record.length", "Payload length"),
    alert = ProtoField.uint16("vpn.alert", "Alert", base.DEC, { [0] = "close_notify", "access_denied", "protocol_error",
        "busy", "timeout", "draining", "policy", "replaced", "undelivered" }),
    service = ProtoField.string("vpn.service", "Service"),
    argument = ProtoField.string("vpn.argument", "Argument"),
    status = ProtoField.uint8("vpn.status", "Status"),
}
local STATUSES = { [0] = "ok", "not permitted", "refused", "unreachable", "no such name", "timeout", "too many", "unknown kind" }
-- The fields of channels (PROTOCOL.md, section 4.10).
local c = {
    id = ProtoField.uint32("vpn.channel.id", "Channel"),
    credit = ProtoField.uint32("vpn.channel.credit", "Credit"),
    kind = ProtoField.string("vpn.channel.kind", "Kind"),
    argument = ProtoField.string("vpn.channel.argument", "Argument"),
    status = ProtoField.uint8("vpn.channel.status", "Status", base.DEC, STATUSES),
    text = ProtoField.string("vpn.channel.text", "Text"),
    code = ProtoField.uint8("vpn.channel.code", "Code", base.DEC, { [0] = "normal", "reset", "policy", "draining" }),
    what = ProtoField.uint8("vpn.channel.what", "What", base.HEX),
    data = ProtoField.bytes("vpn.channel.data", "Data"),
    how = ProtoField.uint8("vpn.channel.how", "Ended by", base.DEC, { [0] = "code", "signal" }),
    number = ProtoField.uint32("vpn.channel.number", "Number of code or signal"),
    no = ProtoField.uint32("vpn.channel.no", "Question"),
    address = ProtoField.string("vpn.channel.address", "Address"),
    listen = ProtoField.uint32("vpn.channel.listen", "Listener"),
    port = ProtoField.uint16("vpn.channel.port", "Port"),
}
vpn.fields = { f.kind, f.from, f.number, f.words, f.offer, f.cipher, f.bits, f.separator, f.line_end, f.value, f.digits,
    f.ciphertext, f.tag, f.text, f.reply, f.filling, f.random, f.record_type, f.record_length, f.alert, f.service,
    f.argument, f.status, c.id, c.credit, c.kind, c.argument, c.status, c.text, c.code, c.what, c.data, c.how, c.number,
    c.no, c.address, c.listen, c.port }

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

local crypto = nil -- function(suite, key, iv, input, way) -> output, or nil and why; way is "encrypt" or "decrypt"

if GcryptCipher then
    crypto = function(suite, key, iv, input, way)
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
        return cipher[way](cipher, nil, ByteArray.new(input, true)):raw()
    end
else
    local found, openssl = pcall(require, "openssl.cipher")
    if found then
        crypto = function(suite, key, iv, input, way)
            local names = { AES = "aes-" .. #key * 8 .. "-cbc", DES = "des-ede3-cbc", DES3 = "des-ede3-cbc" }
            if not names[suite] then return nil, "no cipher " .. suite .. " before Wireshark 4.2" end
            local cipher = openssl.new(names[suite])
            cipher[way](cipher, library_key(suite, key), iv, false)
            return cipher:final(input)
        end
    end
end

local function apply(suite, key, iv, input, way)
    if not crypto then return nil, "neither Wireshark 4.2 nor the Lua module luaossl is here" end
    if #input == 0 then return "" end
    local ok, output, why = pcall(crypto, suite, key, iv, input, way)
    if not ok then return nil, "the cipher failed: " .. tostring(output) end
    return output, why
end

local function decrypt(suite, key, iv, ciphertext) return apply(suite, key, iv, ciphertext, "decrypt") end

-- SHA-256 and the key schedule of the sealed profile ----------------------------------------------
-- Wireshark's Lua has no hash of its own.

local unpack_ = table.unpack or unpack
local band, bnot, bxor, ror, rshift, tobit = bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit

-- The first bits of the fractions of cube roots and square roots of the first primes (FIPS 180-4).
local ROUNDS, START = {}, {}
do
    local prime, found = 2, 0
    local function fraction(root) return tobit(math.floor((root % 1) * 2 ^ 32)) end
    while found < 64 do
        local is_prime = true
        for divisor = 2, math.floor(math.sqrt(prime)) do is_prime = is_prime and prime % divisor ~= 0 end
        if is_prime then
            found = found + 1
            -- One step of Newton makes the last bits right.
            local root = prime ^ (1 / 3)
            root = root - (root * root * root - prime) / (3 * root * root)
            ROUNDS[found] = fraction(root)
            if found <= 8 then START[found] = fraction(math.sqrt(prime)) end
        end
        prime = prime + 1
    end
end

local function be32(number)
    return string.char(rshift(number, 24), band(rshift(number, 16), 255), band(rshift(number, 8), 255), band(number, 255))
end

local function sha256(data)
    local state = { unpack_(START) }
    local padded = data .. "\128" .. string.rep("\0", (55 - #data) % 64) .. "\0\0\0\0" .. be32(#data * 8)
    local w = {}
    for block = 1, #padded, 64 do
        for i = 1, 16 do
            local a, b, d, e = padded:byte(block + 4 * i - 4, block + 4 * i - 1)
            w[i] = tobit(a * 2 ^ 24 + b * 65536 + d * 256 + e)
        end
        for i = 17, 64 do
            local x, y = w[i - 15], w[i - 2]
            local s0, s1 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3)), bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
            w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
        end
        local a, b, d, e, g, h, i, j = unpack_(state)
        for n = 1, 64 do
            local s1 = bxor(ror(g, 6), ror(g, 11), ror(g, 25))
            local t1 = j + s1 + bxor(band(g, h), band(bnot(g), i)) + ROUNDS[n] + w[n]
            local t2 = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, d), band(b, d))
            j, i, h, g, e, d, b, a = i, h, g, tobit(e + t1), d, b, a, tobit(t1 + t2)
        end
        for n, value in ipairs({ a, b, d, e, g, h, i, j }) do state[n] = tobit(state[n] + value) end
    end
    local parts = {}
    for n = 1, 8 do parts[n] = be32(state[n]) end
    return table.concat(parts)
end

local function hmac(key, data)
    local inner, outer = {}, {}
    for n = 1, 64 do
        local byte = key:byte(n) or 0
        inner[n], outer[n] = string.char(bxor(byte, 0x36)), string.char(bxor(byte, 0x5c))
    end
    return sha256(table.concat(outer) .. sha256(table.concat(inner) .. data))
end

-- EL of section 4.4, with an empty context.
local function expand_label(secret, name, size)
    local words = "vpn sealed1 " .. name
    local info = string.char(0, size, #words) .. words .. "\0"
    local out, block = "", ""
    for counter = 1, math.ceil(size / 32) do
        block = hmac(secret, block .. info .. string.char(counter))
        out = out .. block
    end
    return out:sub(1, size)
end

-- The keys of one direction.
local function half_of(wire_name, secret)
    local name, bits = wire_name:match("^(%w+)-(%d+)-cbc$")
    local suite = ({ aes = "AES", des3 = "DES3", blowfish = "Blowfish" })[name]
    if not suite then return { problem = "no cipher " .. wire_name .. " here" } end
    local size = tonumber(bits) / 8
    return {
        wire_name = wire_name, suite = suite, secret = secret, seq = 0, block = suite == "AES" and 16 or 8,
        key = expand_label(secret, "key " .. wire_name, size), ivk = expand_label(secret, "iv", size),
    }
end

-- The plaintext of the next record of a direction, or nil and why.
local function open_record(half, ciphertext)
    if half.problem then return nil, half.problem end
    local seq = string.rep("\0", half.block - 4) .. be32(tobit(half.seq))
    half.seq = half.seq + 1
    local iv, why = apply(half.suite, half.ivk, string.rep("\0", half.block), seq, "encrypt")
    if not iv then return nil, why end
    local plain
    plain, why = decrypt(half.suite, half.key, iv, ciphertext)
    if not plain then return nil, why end
    local length = #plain >= 3 and plain:byte(2) * 256 + plain:byte(3) or 65536
    if 3 + length > #plain or plain:find("[^%z]", 4 + length) then
        return nil, "the key log has other keys for this session"
    end
    return plain:sub(1, 3 + length)
end

-- Key log -----------------------------------------------------------------------------------------

local keys = {} -- index: the last digits of both public values
local secrets = {} -- sealed profile; index: name and client random
local keylog_problem = nil

local function load_keylog()
    keys, secrets, keylog_problem = {}, {}, nil
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
        local name, random, secret = line:match("^SEALED_([CS]_[HA][SP]) (%x+) (%x+)%s*$")
        if name and #random == 64 and #secret == 64 then secrets[name .. random:lower()] = unhex(secret) end
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

-- The sealed profile ------------------------------------------------------------------------------

local PREFACE = "\245VPN\1"
local RECORD_LIMIT = 16432
local RECORDS = {
    [0x15] = "Alert", [0x16] = "Handshake", [0x17] = "Data", [0x18] = "Key update", [0x19] = "Ping", [0x1a] = "Pong",
    [0x1b] = "Open", [0x1c] = "OpenReply", [0x1d] = "Eof", [0x20] = "ChanOpen", [0x21] = "ChanReply", [0x22] = "ChanData",
    [0x23] = "ChanCredit", [0x24] = "ChanEof", [0x25] = "ChanClose", [0x26] = "ChanNote", [0x27] = "Ask",
}
local HANDSHAKES = { [0x0b] = "ServerAuth", [0x0c] = "ClientAuth", [0x0d] = "Ready", [0x10] = "RekeyInit",
    [0x11] = "RekeyReply", [0x12] = "RekeyDone" }

local function number_of(bytes)
    local value = 0
    for n = 1, #bytes do value = value * 256 + bytes:byte(n) end
    return value
end

-- The characters at a place, if they are UTF-8 (without surrogates and long forms): printable ASCII together, others alone.
local function utf8_at(text, at)
    return text:match("^[ -~]+", at) or text:match("^[%z\1-\31\127]", at) or text:match("^[\194-\223][\128-\191]", at)
        or text:match("^\224[\160-\191][\128-\191]", at) or text:match("^\237[\128-\159][\128-\191]", at)
        or text:match("^[\225-\236\238\239][\128-\191][\128-\191]", at)
        or text:match("^\240[\144-\191][\128-\191][\128-\191]", at)
        or text:match("^[\241-\243][\128-\191][\128-\191][\128-\191]", at)
        or text:match("^\244[\128-\143][\128-\191][\128-\191]", at)
end

local function is_utf8(text)
    local at = 1
    while at <= #text do
        local char = utf8_at(text, at)
        if not char then return false end
        at = at + #char
    end
    return true
end

-- Takes the payload of a record apart. `parts` gets a field, where it is, its length and its value.
local function payload_reader(payload, parts)
    local r = { at = 1 }
    local function take(size)
        if r.at + size - 1 > #payload then error({ why = "it ends too early" }) end
        r.at = r.at + size
        return payload:sub(r.at - size, r.at - 1)
    end
    function r.number(field, size)
        local value = number_of(take(size))
        table.insert(parts, { field = field, at = r.at - size, size = size, value = value })
        return value
    end
    function r.bytes(field, count)
        local size = number_of(take(count))
        local value = take(size)
        table.insert(parts, { field = field, at = r.at - size, size = size, text = value })
        return value
    end
    function r.text(field, count)
        local value = r.bytes(field, count)
        if not is_utf8(value) then error({ why = "a text that is not UTF-8" }) end
        return value
    end
    function r.data(field)
        local size = #payload - r.at + 1
        if size == 0 then error({ why = "it has no data" }) end
        table.insert(parts, { field = field, at = r.at, size = size })
        r.at = #payload + 1
    end
    function r.finish()
        if r.at <= #payload then error({ why = "bytes are left over" }) end
    end
    return r
end

-- What an `accepted` channel has for an argument, if it has that.
local function read_accepted(argument, at, parts)
    local size = #argument >= 6 and number_of(argument:sub(5, 6)) or -1
    if #argument ~= 6 + size then return end
    table.insert(parts, { field = c.listen, at = at, size = 4, value = number_of(argument:sub(1, 4)) })
    table.insert(parts, { field = c.address, at = at + 6, size = size, text = argument:sub(7) })
end

-- Each returns what the line about it says behind the name.
local PAYLOADS = {
    [0x15] = function(r)
        r.number(f.alert, 2)
        r.at = r.at + 4 -- with some codes there is more
    end,
    [0x1b] = function(r)
        local service = r.text(f.service, 1)
        r.bytes(f.argument, 2)
        return service
    end,
    [0x1c] = function(r) return "status " .. r.number(f.status, 1) end,
    [0x20] = function(r, parts)
        local id, _, kind = r.number(c.id, 4), r.number(c.credit, 4), r.text(c.kind, 1)
        if #kind > 32 or not kind:find("^[a-z0-9.@-]+$") then error({ why = "a malformed name" }) end
        local argument = r.bytes(c.argument, 2)
        r.finish()
        if kind == "accepted" then read_accepted(argument, r.at - #argument, parts) end
        return id .. " " .. kind
    end,
    [0x21] = function(r)
        local id, status = r.number(c.id, 4), r.number(c.status, 1)
        r.number(c.credit, 4)
        r.text(c.text, 1)
        r.finish()
        return id .. " " .. (STATUSES[status] or status)
    end,
    [0x22] = function(r)
        local id = r.number(c.id, 4)
        r.data(c.data)
        return id
    end,
    [0x23] = function(r)
        local id, more = r.number(c.id, 4), r.number(c.credit, 4)
        r.finish()
        if more == 0 then error({ why = "a credit of 0" }) end
        return id .. " " .. more
    end,
    [0x24] = function(r)
        local id = r.number(c.id, 4)
        r.finish()
        return id
    end,
    [0x25] = function(r)
        local id, code = r.number(c.id, 4), r.number(c.code, 1)
        r.text(c.text, 1)
        r.finish()
        return id .. " code " .. code
    end,
    [0x26] = function(r)
        local id, what = r.number(c.id, 4), r.number(c.what, 1)
        if what == 1 then
            r.data(c.data)
            return id .. " stderr"
        end
        if what ~= 2 then error({ why = "an unknown note" }) end
        if r.number(c.how, 1) > 1 then error({ why = "an exit of no kind" }) end
        local number = r.number(c.number, 4)
        r.finish()
        return id .. " exit " .. number
    end,
    [0x27] = function(r)
        local no, what = r.number(c.no, 4), r.number(c.what, 1)
        local names = { [1] = "listen", [2] = "unlisten", [0x81] = "listen, answer", [0x82] = "unlisten, answer" }
        if what == 1 then
            r.text(c.address, 2)
        elseif what == 2 then
            r.number(c.listen, 4)
        elseif what == 0x81 then
            r.number(c.status, 1)
            r.number(c.port, 2)
            r.text(c.text, 1)
        elseif what == 0x82 then
            r.number(c.status, 1)
        else
            error({ why = "an unknown question" })
        end
        r.finish()
        return no .. " " .. names[what]
    end,
}

-- The type and the fields of a decrypted record.
local function read_plain(message, plain)
    local kind, payload = plain:byte(1), plain:sub(4)
    message.plain, message.parts, message.kind = plain, {}, RECORDS[kind] or "Unknown record"
    if kind == 0x16 and #payload >= 4 then message.kind = HANDSHAKES[payload:byte(1)] or message.kind end
    if kind == 0x27 and payload:byte(5) and payload:byte(5) > 127 then message.kind = "Answer" end
    if not RECORDS[kind] then message.malformed = "this type is unknown" end
    if not PAYLOADS[kind] then return end
    local ok, more = pcall(PAYLOADS[kind], payload_reader(payload, message.parts), message.parts)
    if ok then
        message.about = more and tostring(more)
    else
        message.malformed = type(more) == "table" and more.why or tostring(more)
    end
end

local function read_sealed_hello(session, from, data)
    if #data < 9 then return starts(PREFACE .. data:sub(6), data) and nil or read_unexpected(data, "no preface") end
    local length = 9 + number_of(data:sub(7, 9))
    local kind = data:byte(6)
    local name = ({ client = { [1] = "ClientHello" }, server = { [2] = "ServerHello", [14] = "Reject" } })[from][kind]
    if not starts(data, PREFACE) or not name or length > HANDSHAKE_LIMIT then return read_unexpected(data, "not a hello") end
    if #data < length then return nil end
    return { kind = name, length = length, hello = data:sub(10, length), is_sealed = true }
end

local function read_sealed(session, from, data)
    if not session.hellos[from] then return read_sealed_hello(session, from, data) end
    if #data < 2 then return nil end
    local length = number_of(data:sub(1, 2))
    if length < 40 or length > RECORD_LIMIT then return read_unexpected(data, "not a record") end
    if #data < 2 + length then return nil end
    return { kind = "Record", length = 2 + length, sealed = data:sub(3, 2 + length - 32), is_sealed = true }
end

-- The suites of a ClientHello, and the one that a ServerHello chooses.
local function suites_of(hello)
    local at, lists = 33, {}
    for n = 1, 2 do
        local count = hello:byte(at) or 0
        at, lists[n] = at + 1, {}
        for _ = 1, count do
            local size = hello:byte(at) or 0
            table.insert(lists[n], hello:sub(at + 1, at + size))
            at = at + 1 + size
        end
    end
    return lists[2]
end

local function use_secret(session, from, epoch)
    local name = (from == "client" and "C_" or "S_") .. epoch .. session.random
    if not secrets[name] then
        session.halves[from] = { problem = keylog_problem or "the key log does not have this session" }
    else
        session.halves[from] = half_of(session.suite, secrets[name])
    end
end

local function take_sealed(session, from, message)
    if message.hello then
        session.hellos[from] = message.hello
        if from == "client" then
            session.random = tohex(message.hello:sub(1, 32))
        elseif message.kind == "ServerHello" and session.random then
            session.suite = suites_of(session.hellos.client)[(message.hello:byte(34) or 0) + 1] or "?"
            message.suite = session.suite
            use_secret(session, "client", "HS")
            use_secret(session, "server", "HS")
        end
        return
    end
    local half = session.halves[from] or { problem = "the beginning of the session is missing" }
    local plain, why = open_record(half, message.sealed)
    if plain then
        read_plain(message, plain)
        if message.kind == "Key update" then
            local seq = half.seq
            session.halves[from] = half_of(half.wire_name, expand_label(half.secret, "upd", 32))
            session.halves[from].seq = seq
        elseif message.kind == "RekeyReply" or message.kind == "RekeyDone" then
            session.halves[from] = { problem = "the keys of a fresh exchange are not in the key log" }
        end
    elseif vpn.prefs.keylog ~= "" then
        message.problem = why
    end
    -- One record of each side is under the keys of the handshake.
    if session.suite and not session.switched[from] then
        session.switched[from] = true
        use_secret(session, from, "AP")
    end
end

local function read_next(session, from, data)
    if session.is_sealed then return read_sealed(session, from, data) end
    if from == "client" and not session.proposal and starts(data, PREFACE:sub(1, #data)) then
        session.is_sealed = true
        return read_sealed(session, from, data)
    end
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
    if message.is_sealed then return take_sealed(session, from, message) end
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
        local char = utf8_at(text, at) or text:sub(at, at)
        if #char == 1 and not char:find("[ -~]") or char:find("^\194[\128-\159]") then
            table.insert(shown, escape(char)) -- also the control characters beyond ASCII
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
    local more = message.text or message.reply or message.words or message.about or message.suite
    if message.kind == "Public value" then more = #message.digits .. " digits" end
    if message.kind == "Message" and not message.text then more = #message.ciphertext .. " bytes of ciphertext" end
    return label(message) .. (more and (": " .. clean(more)) or "")
end

-- The fields of a decrypted record, which these bytes are.
local function show_plain(message, bytes, item)
    item:add(f.record_type, bytes(0, 1))
    item:add(f.record_length, bytes(1, 2))
    for _, part in ipairs(message.parts) do
        -- The places count from 1, and in front of the payload are 3 bytes.
        local where = part.size > 0 and bytes(part.at + 2, part.size) or bytes(0, 3)
        if part.text then
            item:add(part.field, where, clean(part.text))
        elseif part.value then
            item:add(part.field, where, part.value)
        else
            item:add(part.field, where)
        end
    end
    if message.malformed then item:add_proto_expert_info(x.unexpected, "malformed: " .. message.malformed) end
end

local function show(message, range, tree)
    local profile = message.is_sealed and "sealed" or "classic"
    local item = tree:add(vpn, range, "VPN " .. profile .. " profile, " .. label(message))
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
    if message.kind == "ClientHello" then item:add(f.random, range(9, 32)) end
    if message.suite then item:add(f.cipher, message.suite):set_generated() end
    if message.sealed then item:add(f.ciphertext, range(2, #message.sealed)) end
    if message.plain then show_plain(message, ByteArray.new(tohex(message.plain)):tvb("Decrypted record")(), item) end
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
        session = { shares = {}, messages = 0, block = 8, hellos = {}, halves = {}, switched = {} }
        sessions[key] = session
    end
    return session
end

-- The sender of a packet. The client sends the proposal. Before that, it is the side without the port.
local function sender(session, pinfo, data)
    local source = endpoint(pinfo.src, pinfo.src_port)
    if not session.client then
        local is_hello = starts(data, PREFACE) and data:byte(6) == 1
        if starts(data, "ProposedCiphers:") or is_hello or pinfo.src_port ~= PORT then
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
    local is_classic = tvb:len() >= 17 and starts(tvb:raw(0, 16), "ProposedCiphers:")
    local is_sealed = tvb:len() >= 6 and starts(tvb:raw(0, 6), PREFACE .. "\1")
    if not is_classic and not is_sealed then return false end
    pinfo.conversation = vpn
    vpn.dissector(tvb, pinfo, tree)
    return true
end)

-- A decrypted record: type u8, length u16, payload, zeros.
function vpn_record.dissector(tvb, pinfo, tree)
    if tvb:len() < 3 or tvb:len() ~= tvb:reported_len() then return 0 end
    local plain = tvb:raw()
    local length = number_of(plain:sub(2, 3))
    if 3 + length > #plain then return 0 end
    local message = { is_sealed = true }
    read_plain(message, plain:sub(1, 3 + length))
    local item = tree:add(vpn_record, tvb(), "VPN sealed profile, " .. label(message))
    item:add(f.kind, tvb(), label(message))
    show_plain(message, tvb(), item)
    pinfo.cols.protocol = "VPN"
    pinfo.cols.info = summary(message)
    return tvb:len()
end
