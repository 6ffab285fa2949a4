using System.Text;
using System.Text.Json;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Media.Tests.Text;

public sealed class TextTokenizerTests
{
    static readonly string Folder = Golden.FolderOf("clip-tokenizer");
    static readonly TextTokenizer Clip = TextTokenizer.Load(Folder);
    static readonly JsonElement Texts = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "texts.json"))).RootElement;

    public static TheoryData<string> Categories() =>
        [.. Texts.EnumerateArray().Select(t => t.GetProperty("category").GetString()!).Distinct()];

    [Theory, MemberData(nameof(Categories))]
    public void Ids_equal_those_of_OpenAI_s_tokenizer(string category)
    {
        var wrong = new List<string>();
        foreach (JsonElement text in Texts.EnumerateArray().Where(t => t.GetProperty("category").GetString() == category))
        {
            int[] expected = [.. text.GetProperty("ids").EnumerateArray().Select(i => i.GetInt32())];
            IReadOnlyList<int> got = Clip.Encode(text.GetProperty("text").GetString()!);
            if (!got.SequenceEqual(expected))
                wrong.Add($"'{text.GetProperty("text")}': {string.Join(' ', got)} instead of {string.Join(' ', expected)}");
        }
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Fact]
    public void Batch_is_padded_and_cut_with_the_end_token_last()
    {
        long[] ids = new long[3 * 6];
        bool[] keep = new bool[3 * 6];
        Clip.EncodeBatch(["a", "", "a photo of a cat and a dog"], 6, ids, keep);
        Assert.Equal([49406, 320, 49407, 49407, 49407, 49407, 49406, 49407, 49407, 49407, 49407, 49407, 49406, 320, 1125, 539,
            320, 49407], ids);
        Assert.Equal("111000110000111111", string.Concat(keep.Select(k => k ? '1' : '0')));
        Clip.EncodeBatch(["a", "", "a photo of a cat and a dog"], 6, ids, []);
        Assert.Throws<ArgumentException>(() => Clip.EncodeBatch(["a"], 6, new long[7], []));
        Assert.Throws<ArgumentException>(() => Clip.EncodeBatch(["a"], 6, new long[6], new bool[7]));
    }

    [Fact]
    public void Rows_longer_than_the_context_are_padded_beyond_it()
    {
        long[] ids = new long[8];
        Clip.WithContextLength(4).EncodeBatch(["a photo of a cat"], 8, ids, []);
        Assert.Equal([49406, 320, 1125, 49407, 49407, 49407, 49407, 49407], ids);
    }

    [Fact]
    public void Decoding_gives_the_words_back()
    {
        Assert.Equal("a photo of a cat , café 猫 😀!", Clip.Decode(Clip.Encode("  A photo of a CAT, café 猫 😀!")));
        Assert.Equal("", Clip.Decode(Clip.Encode("")));
        Assert.Throws<ArgumentOutOfRangeException>(() => Clip.Decode([49408]));
    }

    [Theory]
    [InlineData("cafe\u0301", "café")]
    [InlineData("A\u030Angstro\u0308m", "ångström")]
    [InlineData("\u1112\u1161\u11AB\u1100\u1173\u11AF", "한글")]
    [InlineData("q\u0307\u0323", "q\u0323\u0307")]
    [InlineData("\u212B \u2126", "å ω")]
    public void Composed_and_decomposed_forms_are_the_same_text(string decomposed, string composed) =>
        Assert.Equal(Clip.Encode(composed), Clip.Encode(decomposed));

    [Fact]
    public void Half_a_surrogate_pair_is_read_as_the_replacement_character() =>
        Assert.Equal(Clip.Encode("a \uFFFD b"), Clip.Encode("a \uD83D b"));

    [Fact]
    public void Endless_words_take_no_endless_time()
    {
        Assert.Equal(77, Clip.Encode(new string('x', 1_000_000)).Count);
        Assert.Equal(77, Clip.Encode(string.Concat(Enumerable.Repeat("Σ'", 500_000))).Count);
    }

    [Fact]
    public void Many_threads_get_the_same_ids()
    {
        string[] texts = [.. Texts.EnumerateArray().Select(t => t.GetProperty("text").GetString()!)];
        TextTokenizer fresh = TextTokenizer.Load(Folder);
        Parallel.For(0, 8 * texts.Length, i =>
            Assert.Equal(Clip.Encode(texts[i % texts.Length]), fresh.Encode(texts[i % texts.Length])));
    }

    [Fact]
    public void Files_make_the_same_tokenizer_again()
    {
        TextTokenizer shorter = Clip.WithContextLength(16);
        TextTokenizer again =
            TextTokenizer.Load(file => shorter.Files.TryGetValue(file, out ReadOnlyMemory<byte> bytes) ? bytes : null, "memory");
        Assert.Equal((16, 49408, 49406, 49407, 49407),
            (again.ContextLength, again.VocabularySize, again.BeginId, again.EndId, again.PadId));
        Assert.Equal(shorter.Encode("a photo of a cat"), again.Encode("a photo of a cat"));
        Assert.Equal(77, Clip.ContextLength);
    }

    [Fact]
    public void Folder_without_a_tokenizer_is_named()
    {
        var error = Assert.Throws<FileNotFoundException>(() => TextTokenizer.Load("no-such-folder"));
        Assert.Contains("no-such-folder", error.Message, StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() =>
            TextTokenizer.Load(file => file == "vocab.json" ? "{}"u8.ToArray() : null, "half"));
    }

    [Theory]
    [InlineData("tokenizer.json", "", "model/tokenizer.json")]
    [InlineData("tokenizer.json", "{", "model/tokenizer.json")]
    [InlineData("tokenizer.json", "[]", "model/tokenizer.json")]
    [InlineData("tokenizer.json", "{}", "model/tokenizer.json")]
    [InlineData("tokenizer.json", """{"model": 5}""", "model/tokenizer.json")]
    [InlineData("tokenizer.json", """{"model": {"type": "WordLevel"}}""", "WordLevel")]
    [InlineData("tokenizer.json", """{"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": -1}, "merges": []}}""", "'a'")]
    [InlineData("tokenizer.json", """{"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": 1e99}, "merges": []}}""", "model/tokenizer.json")]
    [InlineData("tokenizer_config.json", "{", "model/tokenizer_config.json")]
    [InlineData("special_tokens_map.json", "5", "model/special_tokens_map.json")]
    [InlineData("vocab.json", """{"a": 0}""", "'<s>'")]
    [InlineData("vocab.json", """{"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}""", "</w>")]
    [InlineData("vocab.json", """{"a": 0, "a</w>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}""", "share an id")]
    [InlineData("vocab.json", """{"a": "x"}""", "model/vocab.json")]
    [InlineData("merges.txt", "#version: 0.2\na", "model/merges.txt")]
    [InlineData("merges.txt", "a zzz", "model/merges.txt")]
    [InlineData("merges.txt", "a b c", "model/merges.txt")]
    public void Unusable_files_are_refused_and_named(string file, string content, string reason)
    {
        ReadOnlyMemory<byte>? Read(string name) => name == file ? Encoding.UTF8.GetBytes(content) : name switch
        {
            "vocab.json" => """{"a": 0, "a</w>": 1, "aa</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}"""u8.ToArray(),
            "merges.txt" => "#version: 0.2\na a</w>\n"u8.ToArray(),
            _ => null,
        };
        var error = Assert.Throws<InvalidDataException>(() => TextTokenizer.Load(Read, "model"));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.Contains("model/", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Cut_off_vocabulary_is_refused_wherever_it_is_cut()
    {
        TextTokenizer trained = ByteLevelBpeTrainer.Train(["a cat", "a cat"], new() { VocabularySize = 520 });
        ReadOnlyMemory<byte> whole = trained.Files["tokenizer.json"];
        for (int length = 0; length < whole.Length - 2; length += 97)
        {
            int cut = length;
            Assert.Throws<InvalidDataException>(() =>
                TextTokenizer.Load(file => file == "tokenizer.json" ? whole[..cut] : null, "model"));
        }
    }
}
