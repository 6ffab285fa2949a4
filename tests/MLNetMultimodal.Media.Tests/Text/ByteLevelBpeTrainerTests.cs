using System.Text.Json;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Media.Tests.Text;

public sealed class ByteLevelBpeTrainerTests
{
    static readonly string[] Captions =
        ["a red cat sits", "a red dog runs", "the red cats", "a blue cat and a red car", "reddest"];

    static readonly string Checked = Path.Combine(AppContext.BaseDirectory, "Data", "trained-tokenizer");

    [Fact]
    public void Most_frequent_pairs_are_merged_first_and_ties_go_by_letters()
    {
        string[] merges = MergesOf(ByteLevelBpeTrainer.Train(Captions, new() { VocabularySize = 534, MinFrequency = 1 }));
        Assert.Equal("r e", merges[0]);
        Assert.Equal(SlowMerges(Captions, 20), merges);
    }

    [Fact]
    public void Order_of_the_texts_does_not_matter()
    {
        TextTokenizer one = ByteLevelBpeTrainer.Train(Captions, new() { VocabularySize = 540, MinFrequency = 1 });
        TextTokenizer other = ByteLevelBpeTrainer.Train(Captions.Reverse(), new() { VocabularySize = 540, MinFrequency = 1 });
        Assert.Equal(one.Files["tokenizer.json"].ToArray(), other.Files["tokenizer.json"].ToArray());
    }

    [Fact]
    public void Hugging_Face_s_library_reads_the_same_ids_from_the_file()
    {
        TextTokenizer trained = TextTokenizer.Load(Checked);
        Assert.Equal(32, trained.ContextLength);
        var wrong = new List<string>();
        foreach (JsonElement text in JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Checked, "texts.json")))
            .RootElement.EnumerateArray())
        {
            int[] expected = [.. text.GetProperty("ids").EnumerateArray().Select(i => i.GetInt32())];
            IReadOnlyList<int> got = trained.WithContextLength(1000).Encode(text.GetProperty("text").GetString()!);
            if (!got.SequenceEqual(expected))
                wrong.Add($"'{text.GetProperty("text")}': {string.Join(' ', got)} instead of {string.Join(' ', expected)}");
        }
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Fact]
    public void Trainer_writes_the_file_that_Hugging_Face_s_library_was_given()
    {
        byte[] golden = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Goldens", "clip-tokenizer", "texts.json"));
        IEnumerable<string> texts = JsonDocument.Parse(golden).RootElement.EnumerateArray()
            .Select(t => t.GetProperty("text").GetString()!);
        TextTokenizer trained = ByteLevelBpeTrainer.Train(texts, new() { VocabularySize = 900, ContextLength = 32 });
        foreach ((string file, ReadOnlyMemory<byte> bytes) in trained.Files)
            Assert.Equal(File.ReadAllText(Path.Combine(Checked, file)), System.Text.Encoding.UTF8.GetString(bytes.Span));
    }

    [Fact]
    public void Begin_and_end_have_the_two_highest_ids()
    {
        TextTokenizer trained =
            ByteLevelBpeTrainer.Train(Captions, new() { VocabularySize = 530, MinFrequency = 1, ContextLength = 12 });
        Assert.Equal((528, 529, 530, 12), (trained.BeginId, trained.EndId, trained.VocabularySize, trained.ContextLength));
        Assert.Equal(trained.EndId, trained.Encode("<|endoftext|> red").Max());
    }

    [Fact]
    public void Any_text_survives_a_tokenizer_of_bytes_alone()
    {
        TextTokenizer trained = ByteLevelBpeTrainer.Train([], new());
        Assert.Equal(BpeTrainingOptions.MinVocabularySize, trained.VocabularySize);
        Assert.Equal("naïve 猫 😀 'll", trained.Decode(trained.Encode("Naïve 猫 😀 'LL")));
    }

    [Fact]
    public void Rare_pairs_are_not_learned()
    {
        Assert.Empty(MergesOf(ByteLevelBpeTrainer.Train(["once"], new())));
        Assert.Equal(3, MergesOf(ByteLevelBpeTrainer.Train(["once"], new() { MinFrequency = 1 })).Length);
    }

    [Fact]
    public void Capitals_count_when_asked_to()
    {
        TextTokenizer trained = ByteLevelBpeTrainer.Train(["Red red"], new() { Lowercase = false });
        Assert.NotEqual(trained.Encode("Red"), trained.Encode("red"));
        Assert.Equal("Red", trained.Decode(trained.Encode("Red")));
    }

    [Fact]
    public void Options_out_of_range_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new BpeTrainingOptions { VocabularySize = 513 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new BpeTrainingOptions { MinFrequency = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new BpeTrainingOptions { ContextLength = 1 });
    }

    static string[] MergesOf(TextTokenizer tokenizer)
    {
        using JsonDocument json = JsonDocument.Parse(tokenizer.Files["tokenizer.json"]);
        return [.. json.RootElement.GetProperty("model").GetProperty("merges").EnumerateArray().Select(m => m.GetString()!)];
    }

    // The same by counting everything anew for each merge; for texts of plain words only.
    static List<string> SlowMerges(IEnumerable<string> texts, int count)
    {
        List<string[]> words = [.. texts.SelectMany(t => t.Split(' '))
            .Select(w => w.Select((c, i) => i < w.Length - 1 ? $"{c}" : $"{c}</w>").ToArray())];
        List<string> merges = [];
        while (merges.Count < count)
        {
            var best = words.SelectMany(w => w.Zip(w.Skip(1))).GroupBy(p => p)
                .OrderByDescending(g => g.Count()).ThenBy(g => g.Key.First, StringComparer.Ordinal)
                    .ThenBy(g => g.Key.Second, StringComparer.Ordinal).FirstOrDefault();
            if (best is null)
                break;
            (string left, string right) = best.Key;
            merges.Add($"{left} {right}");
            words = [.. words.Select(w => $"\n{string.Join('\n', w)}\n".Replace($"\n{left}\n{right}\n", $"\n{left}{right}\n")
                .Trim('\n').Split('\n'))];
        }
        return merges;
    }
}
