using System.Diagnostics;
using System.IO.Compression;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class SaveLoadTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    [Fact]
    public void Zip_predicts_the_same_bits_in_another_process_that_calls_nothing_first()
    {
        string zip = SaveBoth(out IDataView scored), rows = Path.Combine(tiny.Root, "rows.tsv");
        File.WriteAllLines(rows, tiny.Rows.Select(r => $"{r.ImagePath}\t{r.Caption}"));
        var expected = new List<string>();
        foreach (DataViewSchema.Column column in scored.Schema)
        {
            if (column.Type is not VectorDataViewType vector || vector.ItemType != NumberDataViewType.Single) continue;
            expected.AddRange(scored.GetColumn<float[]>(column)
                .Select(row => $"{column.Name} {string.Join(" ", row.Select(BitConverter.SingleToInt32Bits))}"));
        }
        Assert.Equal(expected, RunLoadOnly(zip, rows));
    }

    [Fact]
    public void Zip_holds_each_file_of_the_model_once_for_each_transformer_and_no_path()
    {
        using ZipArchive zip = ZipFile.OpenRead(SaveBoth(out _));
        Assert.Equal(2, zip.Entries.Count(e => e.Length == new FileInfo(Path.Combine(tiny.Folder, "model.safetensors")).Length));
        ZipArchiveEntry[] headers = [.. zip.Entries.Where(e => e.Name == "Model.key")];
        Assert.NotEmpty(headers);
        foreach (ZipArchiveEntry entry in headers)
        {
            using var reader = new StreamReader(entry.Open());
            Assert.DoesNotContain(tiny.Root, reader.ReadToEnd());
        }
    }

    [Fact]
    public void Embeddings_saved_as_binary_come_back_bit_for_bit()
    {
        IDataView view = _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption" })
            .Fit(Data).Transform(Data);
        string file = Path.Combine(tiny.Root, "embeddings.idv");
        using (FileStream stream = File.Create(file)) _ml.Data.SaveAsBinary(view, stream);
        IDataView loaded = new MLContext().Data.LoadFromBinary(file);
        foreach (string column in (string[])["Embedding", "ImageEmbedding", "TextEmbedding"])
        {
            Assert.Equal(view.Schema[column].Type, loaded.Schema[column].Type);
            Tolerance.Equal([.. view.GetColumn<float[]>(column)], [.. loaded.GetColumn<float[]>(column)], 0);
            ReadOnlyMemory<char> model = default;
            loaded.Schema[column].Annotations.GetValue("Model", ref model);
            Assert.Equal("tiny", model.ToString());
        }
        Assert.Equal(tiny.Rows.Select(r => r.Caption), loaded.GetColumn<string>("Caption"));
    }

    [Fact]
    public void Loaded_model_can_be_saved_and_loaded_again()
    {
        string first = SaveBoth(out IDataView scored), second = Path.Combine(tiny.Root, "second.zip");
        ITransformer loaded = _ml.Model.Load(first, out DataViewSchema schema);
        _ml.Model.Save(loaded, schema, second);
        (loaded as IDisposable)?.Dispose();
        ITransformer again = new MLContext().Model.Load(second, out _);
        Tolerance.Equal([.. scored.GetColumn<float[]>("Score")], [.. again.Transform(Data).GetColumn<float[]>("Score")], 0);
        (again as IDisposable)?.Dispose();
    }

    [Fact]
    public void Chain_with_a_trainer_predicts_the_same_after_loading()
    {
        string zip = Path.Combine(tiny.Root, "trained.zip");
        var pipeline = _ml.Transforms.Conversion.MapValueToKey("Label")
            .Append(_ml.Transforms.NormalizeMinMax("Number"))
            .Append(_ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Image = "ImagePath", Threads = 1 }))
            .Append(_ml.Transforms.Concatenate("Features", "Embedding", "Number"))
            .Append(_ml.MulticlassClassification.Trainers.SdcaMaximumEntropy("Label", "Features", maximumNumberOfIterations: 5));
        ITransformer model = pipeline.Fit(Data);
        _ml.Model.Save(model, Data.Schema, zip);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        Tolerance.Equal([.. model.Transform(Data).GetColumn<float[]>("Score")],
            [.. loaded.Transform(Data).GetColumn<float[]>("Score")], 0);
        (loaded as IDisposable)?.Dispose();
    }

    [Fact]
    public void Zip_that_is_cut_off_is_refused()
    {
        string zip = SaveBoth(out _), broken = Path.Combine(tiny.Root, "broken.zip");
        File.Copy(zip, broken, overwrite: true);
        using (ZipArchive archive = ZipFile.Open(broken, ZipArchiveMode.Update))
            archive.Entries.First(e => e.FullName.Contains("ModelFile_", StringComparison.Ordinal)).Delete();
        Exception error = Assert.ThrowsAny<Exception>(() => new MLContext().Model.Load(broken, out _));
        Assert.Contains("ModelFile_", error.GetBaseException().Message);
    }

    string SaveBoth(out IDataView scored)
    {
        string zip = Path.Combine(tiny.Root, $"{Guid.NewGuid():N}.zip");
        var model = _ml.Transforms.MultimodalEmbed(new() { Model = tiny.Folder, Image = "ImagePath", Text = "Caption", Threads = 1 })
            .Append(_ml.Transforms.ZeroShotClassify(new() { LoadedModel = tiny.Model, Image = "ImagePath", Labels = TinyModel.Colors, Threads = 1 })).Fit(Data);
        _ml.Model.Save(model, Data.Schema, zip);
        scored = model.Transform(Data);
        return zip;
    }

    static string[] RunLoadOnly(params string[] arguments)
    {
        string output = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar); // tests/X/bin/Debug/net10.0
        string program = Path.Combine(output.Replace("MLNetMultimodal.Tests", "MLNetMultimodal.LoadOnly",
            StringComparison.Ordinal), "MLNetMultimodal.LoadOnly.dll");
        var start = new ProcessStartInfo("dotnet", [program, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, errors.Result);
        return text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }
}
