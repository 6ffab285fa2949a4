using Microsoft.ML;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training.Tests;

public sealed class PictureCacheTests : IDisposable
{
    static readonly ContrastiveOptions s_options = TrainerFolder.Short with
    {
        Augmentation = new() { HorizontalFlip = 0.5f, TranslatePixels = 1, CropMinScale = 0.5f },
    };

    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    string[] Files => Directory.GetFiles(_folder.At("cache"));

    ContrastiveOptions Cached => s_options with { Cache = _folder.At("cache") };

    [Fact]
    public void Training_from_the_disk_ends_with_the_weights_of_training_from_memory()
    {
        IDataView train = _folder.View(26, seed: 1), validation = _folder.View(12, seed: 2);
        byte[] expected = _folder.Weights(s_options, train, validation);
        Assert.Equal(expected, _folder.Weights(Cached, train, validation));
        Assert.Equal([12 * 3 * 8 * 8, 26 * 3 * 8 * 8], Files.Select(f => new FileInfo(f).Length).Order());
        Assert.Equal(expected, _folder.Weights(Cached, train, validation));
    }

    [Fact]
    public void Second_run_decodes_nothing()
    {
        _folder.Weights(Cached, _folder.View(26, seed: 1));
        string file = Assert.Single(Files);
        byte[] pictures = File.ReadAllBytes(file), black = new byte[pictures.Length];
        File.WriteAllBytes(file, black); // only who takes the pictures from here notices
        byte[] fromBlack = _folder.Weights(Cached, _folder.View(26, seed: 1));
        Assert.NotEqual(_folder.Weights(s_options, _folder.View(26, seed: 1)), fromBlack);
        Assert.Equal(black, File.ReadAllBytes(Assert.Single(Files)));
    }

    [Fact]
    public void Other_pictures_and_another_size_have_files_of_their_own()
    {
        using var first = Store(_folder.View(6, seed: 1), ImagePreprocessing.Clip(8));
        using var same = Store(_folder.View(6, seed: 1), ImagePreprocessing.Clip(8));
        Assert.Single(Files);
        using var others = Store(_folder.View(6, seed: 2), ImagePreprocessing.Clip(8));
        using var fewer = Store(_folder.View(5, seed: 1), ImagePreprocessing.Clip(8));
        using var smaller = Store(_folder.View(6, seed: 1), ImagePreprocessing.Clip(6));
        Assert.Equal(4, Files.Length);
        using PairSet memory = Read(s_options, _folder.View(6, seed: 1), ImagePreprocessing.Clip(6));
        for (int row = 0; row < 6; row++)
            Assert.Equal(Pictures(memory).Pixels(row).ToArray(), Pictures(smaller).Pixels(row).ToArray());
        Assert.Equal((memory.Count, memory.Group(5)), (smaller.Count, smaller.Group(5)));
        Assert.Equal(memory.Second.Plain([5]).Values, smaller.Second.Plain([5]).Values);
    }

    [Fact]
    public void Unreadable_picture_leaves_no_file()
    {
        PictureRow[] rows = StripedPictures.Rows(6, seed: 1);
        rows[4].Image = [1, 2, 3];
        var e = Assert.Throws<InvalidDataException>(() => Store(_folder.Ml.Data.LoadFromEnumerable(rows), ImagePreprocessing.Clip(8)));
        Assert.Contains("row 4", e.Message, StringComparison.Ordinal);
        Assert.Empty(Files);
    }

    [Fact]
    public void File_that_was_cut_off_is_told()
    {
        Store(_folder.View(6, seed: 1), ImagePreprocessing.Clip(8)).Dispose();
        using (FileStream file = File.OpenWrite(Assert.Single(Files))) file.SetLength(5 * 3 * 8 * 8);
        using PairSet set = Store(_folder.View(6, seed: 1), ImagePreprocessing.Clip(8));
        Pictures(set).Pixels(4);
        Assert.Throws<InvalidDataException>(() => Pictures(set).Pixels(5).Length);
    }

    [Fact]
    public void Time_that_the_engine_waits_for_data_is_told()
    {
        var steps = new List<TrainingStep>();
        _folder.Weights(s_options with { Progress = new OnStep(steps.Add) }, _folder.View(26, seed: 1));
        Assert.All(steps, s => Assert.InRange(s.DataWait, TimeSpan.Zero, s.Elapsed));
        Assert.True(steps[0].DataWait > TimeSpan.Zero); // nothing was ready before the first step
        Assert.Equal(steps.Select(s => s.DataWait).Order(), steps.Select(s => s.DataWait));
    }

    static PictureStore Pictures(PairSet set) => ((PairPictures)set.First).Store;

    PairSet Store(IDataView data, ImagePreprocessing images) => Read(Cached, data, images);

    static PairSet Read(ContrastiveOptions options, IDataView data, ImagePreprocessing images)
    {
        TextTokenizer texts = ByteLevelBpeTrainer.Train(["a pattern"], new() { VocabularySize = 600 });
        return new PairReader(options).Read(data, new(images, null, texts), new ClipModel(StripedPictures.Model(texts.VocabularySize)));
    }
}
