using System.Text;
using System.Text.Json;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Media.Tests.Text;

/// <summary>The families beside CLIP's: ids of other programs (see Data/README.md), published ids, round trips, bad files.</summary>
public sealed class TokenizerFamilyTests
{
    static readonly string Data = Path.Combine(AppContext.BaseDirectory, "Data", "tokenizers");

    static TextTokenizer FromMemory(params (string Name, string Content)[] files) =>
        FromFiles(files.ToDictionary(f => f.Name, f => (ReadOnlyMemory<byte>?)Encoding.UTF8.GetBytes(f.Content)));

    static TextTokenizer FromFiles(Dictionary<string, ReadOnlyMemory<byte>?> files) =>
        TextTokenizer.Load(file => files.GetValueOrDefault(file), "memory");

    static IEnumerable<(string Text, int[] Ids)> Expected(string family) =>
        JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Data, family, "expected.json"))).RootElement.EnumerateArray()
            .Select(t => (t.GetProperty("text").GetString()!, t.GetProperty("ids").EnumerateArray().Select(i => i.GetInt32()).ToArray()));

    [Theory, InlineData("wordpiece", 219), InlineData("bytelevel", 224), InlineData("sentencepiece", 200)]
    public void Ids_equal_those_of_the_other_program(string family, int atLeast)
    {
        TextTokenizer tokenizer = TextTokenizer.Load(Path.Combine(Data, family)).WithContextLength(1 << 12);
        var wrong = new List<string>();
        int count = 0;
        foreach (var (text, expected) in Expected(family))
        {
            count++;
            IReadOnlyList<int> got = tokenizer.Encode(text);
            if (text == "-----")
                Assert.Equal(expected.Order(), got.Order()); // a tie of two equally likely cuts, which the libraries break differently
            else if (!got.SequenceEqual(expected))
                wrong.Add($"'{text}': {string.Join(' ', got)} instead of {string.Join(' ', expected)}");
        }
        Assert.True(wrong.Count == 0, $"{wrong.Count} of {count}:\n{string.Join('\n', wrong)}");
        Assert.True(count >= atLeast, $"only {count} texts");
    }

    [Fact]
    public void Byte_level_texts_come_back_as_they_were()
    {
        TextTokenizer tokenizer = TextTokenizer.Load(Path.Combine(Data, "bytelevel")).WithContextLength(1 << 12);
        foreach (var (text, _) in Expected("bytelevel"))
            if (!text.Contains('<'))
                Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void Word_pieces_come_back_as_words()
    {
        TextTokenizer tokenizer = TextTokenizer.Load(Path.Combine(Data, "wordpiece"));
        Assert.Equal("a photo of a cat , deja vu", tokenizer.Decode(tokenizer.Encode("A photo  of a cat, Déjà vu")));
        TextTokenizer pieces = TextTokenizer.Load(Path.Combine(Data, "sentencepiece"));
        Assert.Equal("I saw a girl with a telescope.", pieces.Decode(pieces.Encode("I saw a girl with a telescope.")));
    }

    // huggingface/transformers, tests/models/bert/test_tokenization_bert.py: the vocabulary and test_full_tokenizer.
    const string BertVocabulary = "[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\nwant\n##want\n##ed\nwa\nun\nrunn\n##ing\n,\nlow\nlowest\n";

    [Fact]
    public void Bert_s_published_example()
    {
        TextTokenizer tokenizer = FromMemory(("vocab.txt", BertVocabulary));
        Assert.Equal([1, 9, 6, 7, 12, 10, 11, 2], tokenizer.Encode("UNwant\u00E9d,running"));
        Assert.Equal([1, 9, 6, 7, 4, 0, 2], tokenizer.Encode("unwanted[MASK] nowhere"));
        Assert.Equal((1, 2, 3, 15, 512),
            (tokenizer.BeginId, tokenizer.EndId, tokenizer.PadId, tokenizer.VocabularySize, tokenizer.ContextLength));
        TextTokenizer cased = FromMemory(("vocab.txt", BertVocabulary), ("tokenizer_config.json", """{"do_lower_case": false}"""));
        Assert.Equal([1, 0, 12, 10, 11, 2], cased.Encode("UNwant\u00E9d,running"));
        long[] ids = new long[2 * 5];
        bool[] keep = new bool[2 * 5];
        tokenizer.EncodeBatch(["low", "lowest, running"], 5, ids, keep);
        Assert.Equal([1L, 13, 2, 3, 3, 1, 14, 12, 10, 2], ids);
        Assert.Equal("1110011111", string.Concat(keep.Select(k => k ? '1' : '0')));
    }

    // tests/models/roberta/test_tokenization_roberta.py: the vocabulary, the merges and test_full_tokenizer.
    [Fact]
    public void Roberta_s_published_example()
    {
        string[] tokens = ["l", "o", "w", "e", "r", "s", "t", "i", "d", "n", "\u0120", "\u0120l", "\u0120n", "\u0120lo", "\u0120low", "er",
            "\u0120lowest", "\u0120newer", "\u0120wider", "<unk>", "<s>", "</s>", "<pad>"];
        TextTokenizer tokenizer = FromMemory(
            ("vocab.json", JsonSerializer.Serialize(tokens.Select((t, i) => (t, i)).ToDictionary(t => t.t, t => t.i))),
            ("merges.txt", "#version: 0.2\n\u0120 l\n\u0120l o\n\u0120lo w\ne r\n"));
        Assert.Equal([20, 0, 1, 2, 15, 10, 9, 3, 2, 15, 21], tokenizer.Encode("lower newer"));
        Assert.Equal((20, 21, 22), (tokenizer.BeginId, tokenizer.EndId, tokenizer.PadId));
    }

    [Fact]
    public void Siglip_folds_and_pads_with_its_end()
    {
        byte[] pieces = File.ReadAllBytes(Path.Combine(Data, "sentencepiece", "spiece.model"));
        TextTokenizer siglip = FromFiles(new()
        {
            ["spiece.model"] = pieces,
            ["tokenizer_config.json"] = """{"tokenizer_class":"SiglipTokenizer","eos_token":"</s>","pad_token":"</s>","model_max_length":64}"""u8.ToArray(),
        });
        TextTokenizer plain = TextTokenizer.Load(Path.Combine(Data, "sentencepiece"));
        Assert.Equal(plain.Encode("this is a girl's day".Replace("'", "", StringComparison.Ordinal)), siglip.Encode(" This is,  a GIRL's day! "));
        Assert.Null(siglip.BeginId);
        Assert.Equal((2, 2, 64), (siglip.EndId, siglip.PadId, siglip.ContextLength));
        long[] ids = new long[64];
        siglip.EncodeBatch(["a"], 64, ids, []);
        Assert.All(ids[1..], id => Assert.True(id == 2 || ids[1] == id));
        Assert.Equal(2, siglip.WithContextLength(2).Encode("one two three")[^1]);
    }

    [Fact]
    public void Xlm_roberta_numbers_as_fairseq_does()
    {
        byte[] pieces = File.ReadAllBytes(Path.Combine(Data, "sentencepiece", "spiece.model"));
        TextTokenizer xlm = FromFiles(new() { ["sentencepiece.bpe.model"] = pieces });
        IReadOnlyList<int> plain = TextTokenizer.Load(Path.Combine(Data, "sentencepiece")).Encode("I saw a girl");
        Assert.Equal([0, .. plain.SkipLast(1).Select(id => id + 1), 2], xlm.Encode("I saw a girl"));
        Assert.Equal((0, 2, 1), (xlm.BeginId, xlm.EndId, xlm.PadId));
        Assert.Equal("I saw a girl", xlm.Decode(xlm.Encode("I saw a girl")));
    }

    public static TheoryData<string, string, string> BadFiles => new()
    {
        { "tokenizer.json", """{"model":{"type":"WordLevel","vocab":{}},"pre_tokenizer":null}""", "WordLevel" },
        { "tokenizer.json", """{"model":{"type":"WordPiece","vocab":{"[CLS]":0}},"pre_tokenizer":{"type":"BertPreTokenizer"}}""", "'[SEP]'" },
        { "tokenizer.json", """{"model":{"type":"WordPiece","continuing_subword_prefix":"@@","vocab":{}},"pre_tokenizer":{"type":"BertPreTokenizer"}}""", "##" },
        { "tokenizer.json", """{"model":{"type":"WordPiece","vocab":{"[CLS]":0,"[SEP]":1,"[PAD]":2,"[UNK]":16000000}},"pre_tokenizer":{"type":"BertPreTokenizer"}}""", "highest id" },
        { "tokenizer.json", """{"model":{"type":"WordPiece","vocab":{"[CLS]":0}},"normalizer":{"type":"NFKC"},"pre_tokenizer":{"type":"BertPreTokenizer"}}""", "NFKC" },
        { "tokenizer.json", """{"model":{"type":"WordPiece","vocab":{"[CLS]":0}},"pre_tokenizer":{"type":"Whitespace"}}""", "BertPreTokenizer" },
        { "vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "'[PAD]'" }, { "vocab.txt", "[UNK]\na\na\n", "two ids" },
        { "spiece.model", "no protocol buffer", "spiece.model" }, { "spiece.model", "", "spiece.model" },
    };

    [Theory, MemberData(nameof(BadFiles))]
    public void Bad_files_are_named(string file, string content, string named)
    {
        var e = Assert.Throws<InvalidDataException>(() => FromMemory((file, content)));
        Assert.Contains(file, e.Message, StringComparison.Ordinal);
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }
}
