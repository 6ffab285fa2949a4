using System.CommandLine;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Rows of pictures with texts, labels or both.</summary>
/// <param name="View">The rows.</param>
/// <param name="Image">Column of the pictures.</param>
/// <param name="Label">Column that says which rows belong together: a class; null where the data has none.</param>
/// <param name="ClassText">Column of the class names; null where pictures have captions of their own.</param>
sealed record PictureData(IDataView View, string Image, string? Label, string? ClassText)
{
    /// <summary>Column of the captions.</summary>
    public const string Caption = "Caption";

    /// <summary>The classes: those of the key, or the distinct texts in ordinal order.</summary>
    public IReadOnlyList<string> Labels()
    {
        if (Label is null) return [];
        if (ClassText is null) return [.. View.GetColumn<string>(Label).Distinct().Order(StringComparer.Ordinal)];
        VBuffer<ReadOnlyMemory<char>> names = default;
        View.Schema[Label].GetKeyValues(ref names);
        return [.. names.DenseValues().Select(n => n.ToString())];
    }
}

/// <summary>Options that say where rows come from: a folder with a folder of pictures per class, a manifest of pictures with captions, or IDX files.</summary>
sealed class DataOptions
{
    readonly Option<string?> _data = new("--data")
    {
        Description = "A folder with one folder of pictures per class, a .csv, .tsv or .jsonl manifest, or, with --idx-labels, an IDX file of pictures.",
        HelpName = "PATH",
    };

    readonly Option<string?> _idxImages = new("--idx-images") { Description = "An IDX file of pictures, plain or gzipped, in place of --data.", HelpName = "F" };
    readonly Option<string?> _idxLabels = new("--idx-labels") { Description = "The IDX file of their classes.", HelpName = "F" };
    readonly Option<string?> _classNames = new("--class-names") { Description = "Names of the classes of an IDX file, separated by commas.", HelpName = "a,b,c" };
    readonly Option<string> _imageField = new("--image-field") { Description = "A manifest's field of the picture's path.", DefaultValueFactory = _ => new ImageTextPairsOptions().ImageField };
    readonly Option<string> _captionField = new("--caption-field") { Description = "A manifest's field of the caption.", DefaultValueFactory = _ => new ImageTextPairsOptions().CaptionField };
    readonly Option<string?> _labelField = new("--label-field") { Description = "A manifest's field of the class: rows of one class belong together.", HelpName = "NAME" };

    public void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_data, _idxImages, _idxLabels, _classNames, _imageField, _captionField, _labelField]) command.Add(option);
        command.Validators.Add(result =>
        {
            bool data = result.GetResult(_data) is not null, images = result.GetResult(_idxImages) is not null, labels = result.GetResult(_idxLabels) is not null;
            if (data == images) result.AddError("Give the data: either --data, or --idx-images with --idx-labels.");
            else if (images && !labels) result.AddError("Give --idx-labels with --idx-images.");
            else if (!labels && result.GetResult(_classNames) is not null) result.AddError("--class-names goes with --idx-labels only.");
        });
    }

    /// <summary>The rows.</summary>
    /// <param name="ml">Its environment.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="captionTemplate">What captions of labelled pictures are made of, with <c>{}</c> in place of the class.</param>
    public PictureData Load(MLContext ml, ParseResult parsed, string captionTemplate)
    {
        if (parsed.GetValue(_idxLabels) is { } labels)
        {
            string[]? names = parsed.GetValue(_classNames)?.Split(',', StringSplitOptions.TrimEntries);
            string images = parsed.GetValue(_idxImages) ?? parsed.GetRequiredValue(_data)!;
            return new(ml.Data.LoadIdx(images, labels, new() { ClassNames = names, CaptionTemplate = captionTemplate }), "Image", "Label", "LabelText");
        }
        return Load(ml, parsed, parsed.GetRequiredValue(_data)!, captionTemplate);
    }

    /// <summary>The rows of another folder or manifest, with the same fields.</summary>
    public PictureData Load(MLContext ml, ParseResult parsed, string path, string captionTemplate)
    {
        if (Directory.Exists(path))
            return new(ml.Data.LoadImageFolder(path, new() { CaptionTemplate = captionTemplate }), "ImagePath", "Label", "LabelText");
        string? label = parsed.GetValue(_labelField);
        var options = new ImageTextPairsOptions
        {
            ImageField = parsed.GetRequiredValue(_imageField),
            CaptionField = parsed.GetRequiredValue(_captionField),
            OtherFields = label is null ? [] : [label],
        };
        return new(ml.Data.LoadImageTextPairs(path, options), "ImagePath", label, null);
    }
}
