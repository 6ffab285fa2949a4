using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Media.Tests.Text;

/// <summary>tokenizer.json of type Unigram and BPE that falls back to bytes: ids and texts of Hugging Face's own program (see
/// Data/README.md), round trips, truncation and padding, hostile files.</summary>
public sealed class SteppedTokenizerTests
{
    static readonly string Data = Path.Combine(AppContext.BaseDirectory, "Data", "tokenizers");

    static JsonObject Read(string family, string file) => JsonNode.Parse(File.ReadAllBytes(Path.Combine(Data, family, file)))!.AsObject();

    // The family's tokenizer.json with the fields of a variant, which leave the charsmap to the file.
    static JsonObject Variant(string family, string variant)
    {
        JsonObject json = Read(family, "tokenizer.json");
        JsonNode? map = json["normalizer"]!["normalizers"]![0]!["precompiled_charsmap"];
        foreach (var (field, value) in Read(family, "variants.json")[variant]!.AsObject())
            json[field] = value?.DeepClone();
        if (json["normalizer"]?["normalizers"]?.AsArray() is { } steps)
            foreach (JsonNode? step in steps)
                if ((string)step!["type"]! == "Precompiled")
                    step["precompiled_charsmap"] = map!.DeepClone();
        return json;
    }

    static TextTokenizer Load(JsonObject json, string config = """{"model_max_length":100000,"eos_token":"</s>"}""")
    {
        var files = new Dictionary<string, ReadOnlyMemory<byte>?>
        {
            ["tokenizer.json"] = JsonSerializer.SerializeToUtf8Bytes(json),
            ["tokenizer_config.json"] = System.Text.Encoding.UTF8.GetBytes(config),
        };
        return TextTokenizer.Load(file => files.GetValueOrDefault(file), "memory");
    }

    [Theory]
    [InlineData("unigram", "xlm-r"), InlineData("unigram", "t5"), InlineData("unigram", "siglip"), InlineData("unigram", "albert")]
    [InlineData("bytefallback", "llama"), InlineData("bytefallback", "llama-metaspace"), InlineData("bytefallback", "gemma")]
    [InlineData("bytefallback", "split")]
    public void Ids_and_decoded_texts_equal_those_of_the_other_program(string family, string variant)
    {
        JsonObject json = Variant(family, variant);
        TextTokenizer tokenizer = Load(json);
        HashSet<int> special = [.. json["added_tokens"]!.AsArray().Where(t => (bool)t!["special"]!).Select(t => (int)t!["id"]!)];
        using JsonDocument expected = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Data, family, "expected.json")));
        var wrong = new List<string>();
        foreach (JsonElement item in expected.RootElement.EnumerateArray())
        {
            string text = item.GetProperty("text").GetString()!;
            int[] ids = [.. item.GetProperty(variant).GetProperty("ids").EnumerateArray().Select(i => i.GetInt32())];
            IReadOnlyList<int> got = tokenizer.Encode(text);
            if (!got.SequenceEqual(ids))
                wrong.Add($"'{text}': {string.Join(' ', got)} instead of {string.Join(' ', ids)}");
            string decoded = tokenizer.Decode(ids.Where(id => !special.Contains(id))), wanted = item.GetProperty(variant).GetProperty("text").GetString()!;
            if (decoded != wanted)
                wrong.Add($"'{text}' decodes to '{decoded}' instead of '{wanted}'");
        }
        Assert.True(wrong.Count == 0, $"{wrong.Count} wrong:\n{string.Join('\n', wrong)}");
        Assert.Equal(270, expected.RootElement.GetArrayLength());
    }

    // SentencePiece's nmt_nfkc, whose map is in the file.
    [Theory]
    [InlineData("\uFB01 \u2460 \u00BD", "fi 1 1\u20442"), InlineData("a\u200Bb\u0007", "a b"), InlineData("e\u0301", "\u00E9")]
    [InlineData("plain \uFB01 text, e\u0301x\u0301", "plain fi text, \u00E9x\u0301"), InlineData("one\r\ntwo", "one two")]
    public void The_compiled_map_normalises(string text, string expected) =>
        Assert.Equal(expected, NormalizerSteps.Read(JsonSerializer.SerializeToElement(Read("unigram", "tokenizer.json")["normalizer"]))(text).Text);

    // Unicode Standard Annex 15, section 1.1 and figure 6; Hangul from The Unicode Standard, section 3.12.
    [Theory]
    [InlineData("\uFB01", "\uFB01", "\uFB01", "fi", "fi"), InlineData("2\u2075", "2\u2075", "2\u2075", "25", "25")]
    [InlineData("\u1E9B\u0323", "\u017F\u0323\u0307", "\u1E9B\u0323", "s\u0323\u0307", "\u1E69")]
    [InlineData("\u212B", "A\u030A", "\u00C5", "A\u030A", "\u00C5"), InlineData("\uD55C", "\u1112\u1161\u11AB", "\uD55C", "\u1112\u1161\u11AB", "\uD55C")]
    [InlineData("\uFF76\uFF9E", "\uFF76\uFF9E", "\uFF76\uFF9E", "\u30AB\u3099", "\u30AC"), InlineData("\U0001D400", "\U0001D400", "\U0001D400", "A", "A")]
    public void The_four_normalisation_forms(string text, string d, string c, string kd, string kc)
    {
        string Form(string type) => NormalizerSteps.Read(JsonSerializer.SerializeToElement(new { type }))(text).Text;
        Assert.Equal((d, c, kd, kc), (Form("NFD"), Form("NFC"), Form("NFKD"), Form("NFKC")));
    }

    [Fact]
    public void Byte_fallback_texts_come_back_as_they_were()
    {
        TextTokenizer tokenizer = Load(Variant("bytefallback", "gemma"));
        foreach (string text in new[] { "a photo of a cat", "  two  spaces ", "\u0130stanbul \U0001F468\u200D\U0001F469 \uFDFA", "tab\tand\nline", "\u4F60\u597D" })
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void Half_a_surrogate_pair_is_a_replacement_character()
    {
        TextTokenizer tokenizer = Load(Variant("bytefallback", "llama"));
        Assert.Equal(tokenizer.Encode("a\uFFFDb"), tokenizer.Encode("a\uD800b"));
        Assert.Equal("a\uFFFDb", tokenizer.Decode(tokenizer.Encode("a\uDC00b")));
    }

    [Fact]
    public void Unigram_merges_a_run_of_unknown_characters_and_says_unknown_once()
    {
        TextTokenizer tokenizer = Load(Variant("unigram", "t5"));
        IReadOnlyList<int> one = tokenizer.Encode("\U00012000"), three = tokenizer.Encode("\U00012000\U00012001\U00012002");
        Assert.Equal(one, three);
        Assert.Contains(2, one);
    }

    [Fact]
    public void Special_tokens_truncation_and_padding_are_as_the_files_say()
    {
        TextTokenizer xlm = TextTokenizer.Load(Path.Combine(Data, "unigram"));
        Assert.Equal((0, 1, 3, 512), (xlm.BeginId, xlm.EndId, xlm.PadId, xlm.ContextLength));
        int[] cut = [.. xlm.WithContextLength(6).Encode("a photo of a cat and of a dog")], whole = [.. xlm.Encode("a photo of a cat and of a dog")];
        Assert.Equal([.. whole[..5], 1], cut);
        long[] ids = new long[2 * 8];
        bool[] keep = new bool[2 * 8];
        xlm.EncodeBatch(["a cat", whole.Length.ToString(System.Globalization.CultureInfo.InvariantCulture)], 8, ids, keep);
        int first = xlm.Encode("a cat").Count;
        Assert.Equal(xlm.Encode("a cat").Select(i => (long)i), ids[..first]);
        Assert.All(ids[first..8], id => Assert.Equal(3, id));
        Assert.Equal(first, keep[..8].Count(k => k));

        TextTokenizer llama = TextTokenizer.Load(Path.Combine(Data, "bytefallback"));   // padding_side left
        Assert.Equal((1, 2, 3), (llama.BeginId, llama.EndId, llama.PadId));
        int[] row = [.. llama.Encode("a cat")];
        Assert.DoesNotContain(2, row);
        llama.EncodeBatch(["a cat", "a dog."], 8, ids, keep);
        Assert.Equal([.. Enumerable.Repeat(3L, 8 - row.Length), .. row.Select(i => (long)i)], ids[..8]);
        Assert.Equal(Enumerable.Range(0, 8).Select(i => i >= 8 - row.Length), keep[..8]);

        TextTokenizer left = Load(Variant("unigram", "xlm-r"), """{"model_max_length":6,"truncation_side":"left"}""");
        Assert.Equal([0, .. whole[^5..]], left.Encode("a photo of a cat and of a dog"));
        Assert.Equal([0, 1], left.WithContextLength(2).Encode("a cat"));
    }

    [Fact]
    public void Llama_s_and_Gemma_s_classes_put_their_tokens_as_the_config_says()
    {
        const string Config = """{"tokenizer_class":"GemmaTokenizer","bos_token":"<s>","eos_token":"</s>","add_bos_token":false,"add_eos_token":true}""";
        TextTokenizer gemma = Load(Variant("bytefallback", "llama"), Config), llama = Load(Variant("bytefallback", "llama"));
        Assert.Equal([.. llama.Encode("a cat").Skip(1), 2], gemma.Encode("a cat"));
        Assert.Null(gemma.BeginId);
    }

    // 40,000 characters without a space are one word here: quadratic time would be minutes.
    [Fact]
    public void A_long_text_of_one_word_is_cut()
    {
        string text = string.Concat(Enumerable.Range(0, 10_000).Select(i => "abcd"[(i * 7 + i / 3) % 4])) + new string('a', 30_000);
        foreach (string family in new[] { "unigram", "bytefallback" })
        {
            TextTokenizer tokenizer = Load(Variant(family, family == "unigram" ? "t5" : "llama"));
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        }
    }

    [Fact]
    public void Byte_level_stays_its_own_kind_whatever_it_says_of_unknown_tokens()
    {
        JsonObject json = Read("bytelevel", "tokenizer.json");
        json["model"]!["fuse_unk"] = true;
        TextTokenizer plain = TextTokenizer.Load(Path.Combine(Data, "bytelevel"));
        Assert.Equal(plain.Encode("a photo of a cat"), Load(json).Encode("a photo of a cat"));
    }

    static string Charsmap(params uint[] units)
    {
        byte[] bytes = [.. BitConverter.GetBytes(units.Length * 4), .. units.SelectMany(BitConverter.GetBytes), (byte)'x', 0];
        return Convert.ToBase64String(bytes);
    }

    // Places far outside the array, and children that lead back to themselves.
    [Theory, InlineData(0xFFFFFFFFu, 0x61u), InlineData(0x7FFFFDFFu, 0xFFFFFF61u), InlineData(0u, 0x161u), InlineData(0x400u, 0x80000000u)]
    public void A_damaged_trie_finds_nothing_and_ends(uint root, uint unit)
    {
        uint[] units = [root, .. Enumerable.Repeat(unit, 255)];
        JsonElement step = JsonSerializer.SerializeToElement(new { type = "Precompiled", precompiled_charsmap = Charsmap(units) });
        Assert.Equal("abc \u4F60", NormalizerSteps.Read(step)("abc \u4F60").Text);
    }

    public static TheoryData<string, string, string> BadFields => new()
    {
        { "normalizer", """{"type":"Precompiled","precompiled_charsmap":"AAAA"}""", "precompiled_charsmap is cut off" },
        { "normalizer", """{"type":"Precompiled","precompiled_charsmap":"8P///wAAAAAA"}""", "precompiled_charsmap is cut off" },
        { "normalizer", """{"type":"Precompiled","precompiled_charsmap":"BAAAAAAAAABh"}""", "do not end in zero" },
        { "normalizer", """{"type":"Nmt"}""", "Nmt" }, { "pre_tokenizer", """{"type":"Digits"}""", "Digits" },
        { "normalizer", """{"type":"Replace","pattern":{"Regex":"(a+"},"content":""}""", "(a+" },
        { "normalizer", """{"type":"Replace","pattern":{"Regex":"(?=a)b"},"content":""}""", "(?=a)b" },
        { "normalizer", """{"type":"Replace","pattern":{"String":"a"},"content":"0123456789012345678901234567890123456789"}""", "puts in 40" },
        { "pre_tokenizer", """{"type":"Metaspace","replacement":"","prepend_scheme":"always"}""", "Metaspace" },
        { "pre_tokenizer", """{"type":"Split","pattern":{"String":" "},"behavior":"Sideways"}""", "Sideways" },
        { "decoder", """{"type":"CTC"}""", "CTC" }, { "post_processor", """{"type":"ByteLevel"}""", "ByteLevel" },
        { "post_processor", """{"type":"BertProcessing","cls":["<nowhere>",0],"sep":["</s>",1]}""", "<nowhere>" },
        { "model", """{"type":"Unigram","unk_id":0,"vocab":[]}""", "unk_id" },
        { "model", """{"type":"Unigram","unk_id":null,"vocab":[["a",-1]]}""", "unk_id" },
        { "model", """{"type":"Unigram","unk_id":0,"vocab":[["a",-1],["a",-2]]}""", "two ids" },
        { "model", """{"type":"Unigram","unk_id":0,"vocab":[["a"]]}""", "tokenizer.json" },
        { "model", """{"type":"BPE","byte_fallback":true,"vocab":{"a":0},"merges":["a b"]}""", "'b'" },
        { "model", """{"type":"BPE","byte_fallback":true,"vocab":{"a":0},"merges":["a"]}""", "two parts" },
        { "model", """{"type":"BPE","byte_fallback":true,"unk_token":"?","vocab":{"a":0},"merges":[]}""", "'?'" },
        { "model", """{"type":"BPE","byte_fallback":true,"dropout":0.1,"vocab":{"a":0},"merges":[]}""", "dropout" },
        { "model", """{"type":"BPE","byte_fallback":true,"vocab":{"a":0},"merges":[["","a"]]}""", "two parts" },
        { "model", """{"type":"BPE","byte_fallback":true,"vocab":{"a":9000,"b":9000},"merges":[]}""", "share an id" },
    };

    [Theory, MemberData(nameof(BadFields))]
    public void Bad_files_are_named(string field, string value, string named)
    {
        JsonObject json = Variant("unigram", "xlm-r");
        json[field] = JsonNode.Parse(value);
        var e = Assert.Throws<InvalidDataException>(() => Load(json));
        Assert.Contains("memory/tokenizer.json", e.Message, StringComparison.Ordinal);
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Steps_that_blow_a_text_up_are_stopped()
    {
        JsonObject json = Variant("unigram", "t5");
        JsonObject twice = JsonNode.Parse("""{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}""")!.AsObject();
        json["normalizer"] = new JsonObject { ["type"] = "Sequence", ["normalizers"] = new JsonArray([.. Enumerable.Range(0, 20).Select(_ => twice.DeepClone())]) };
        TextTokenizer tokenizer = Load(json);
        Assert.Throws<InvalidDataException>(() => tokenizer.Encode("a"));
    }
}
